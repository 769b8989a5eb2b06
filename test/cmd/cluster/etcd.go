package main

import (
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

// runEtcd runs etcd until a signal comes. Its arguments are the folder of its data, and the URLs for clients and for peers.
func runEtcd(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("etcd: want DIR CLIENTS PEERS, got %q", args)
	}
	config := embed.NewConfig()
	config.Dir = args[0]
	config.LogLevel = "warn"
	config.UnsafeNoFsync = true // a machine that crashes takes the test with it
	for i, urls := range []*[]url.URL{&config.ListenClientUrls, &config.ListenPeerUrls} {
		u, err := url.Parse(args[1+i])
		if err != nil {
			return err
		}
		*urls = []url.URL{*u}
	}
	config.AdvertiseClientUrls, config.AdvertisePeerUrls = config.ListenClientUrls, config.ListenPeerUrls
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer etcd.Close()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	select {
	case <-signals:
		return nil
	case err := <-etcd.Err():
		return err
	}
}

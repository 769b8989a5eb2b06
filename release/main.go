// Command release packs what `make binaries` built: images into archives that container engines load, and all that a release
// holds. The same binaries make the same octets, on any machine.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	flag.Usage = func() {
		_, _ = fmt.Fprint(flag.CommandLine.Output(), `Usage: release [options] image|dist

image writes image.tar and image-small.tar, the images of coredns and coredns-small for each linux platform.
dist writes the folder dist: the images, an archive of the commands for each platform, and SHA256SUMS.

`)
		flag.PrintDefaults()
	}
	bin := flag.String("bin", "bin", "`folder` with the binaries, such as build/linux-amd64/coredns, and of what is made")
	image := flag.String("image", "ghcr.io/coredns-headless/coredns",
		"`name` of the image; its tag is the version of CoreDNS that is in it, if the name has none")
	flag.Parse()
	if err := run(flag.Args(), *bin, *image); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(args []string, bin, image string) error {
	if len(args) != 1 {
		return fmt.Errorf("got the arguments %q, want image or dist", args)
	}
	all, err := findBinaries(bin)
	if err != nil {
		return err
	}
	switch args[0] {
	case "image":
		return writeImages(all, image, func(suffix string) string { return filepath.Join(bin, "image"+suffix+".tar") })
	case "dist":
		return writeDist(all, image, filepath.Join(bin, "dist"))
	}
	return fmt.Errorf("got the argument %q, want image or dist", args[0])
}

// The program that makes the manual page. The plugin's own go.mod has no use for what it imports.
module github.com/coredns-headless/headless/docs

go 1.26.0

require github.com/cpuguy83/go-md2man/v2 v2.0.7

require github.com/russross/blackfriday/v2 v2.1.0 // indirect

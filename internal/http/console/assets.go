package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
)

// AssetsPath is where Assets are served.
const AssetsPath = "/assets/"

//go:embed assets/*.css assets/*.js assets/*.svg
var assetFiles embed.FS

// asset is a file as it is served.
type asset struct {
	contentType    string
	plain, gzipped []byte
}

// What takes memory is read when the first page is asked for: a worker, which has
// this package in it too, never is.
var (
	assets = sync.OnceValue(loadAssets)
	// release is part of every asset's address, so that it may be cached for good.
	release = sync.OnceValue(func() string { return releaseOf(assets()) })
)

func loadAssets() map[string]asset {
	loaded := make(map[string]asset)
	entries, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err)
	}
	for _, entry := range entries {
		data, err := fs.ReadFile(assetFiles, "assets/"+entry.Name())
		if err != nil {
			panic(err)
		}
		var packed bytes.Buffer
		w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		_, _ = w.Write(data) // into memory
		_ = w.Close()
		loaded[entry.Name()] = asset{mime.TypeByExtension(path.Ext(entry.Name())), data, packed.Bytes()}
	}
	return loaded
}

func releaseOf(assets map[string]asset) string {
	entries, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err)
	}
	h := sha256.New()
	for _, entry := range entries { // sorted by name
		h.Write(assets[entry.Name()].plain)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// AssetURL is the address of an asset.
func AssetURL(name string) string { return AssetsPath + release() + "/" + name }

// Assets serves the style sheets, scripts and pictures of the pages.
func Assets() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at, name := path.Split(strings.TrimPrefix(r.URL.Path, AssetsPath))
		a, ok := assets()[name]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", a.contentType)
		h.Set("Vary", "Accept-Encoding")
		h.Set("Cache-Control", "public, max-age=300")
		if at == release()+"/" {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		body := a.plain
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
			body = a.gzipped
		}
		_, _ = w.Write(body) // the browser went away
	})
}

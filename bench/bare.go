package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5/pgxpool"
)

// bareHandler is what a poll is compared with: a process of its own with a Gin
// handler that reads one row by its key, without a caller to know, a log or a job
// to show.
func bareHandler(ctx context.Context, databaseURL, id string) error {
	pool, err := pgxpool.New(ctx, databaseURL)
	if err != nil {
		return err
	}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.GET("/", func(c *gin.Context) {
		var status string
		if err := pool.QueryRow(c.Request.Context(), `SELECT status FROM identity.job WHERE job_id = $1`, id).Scan(&status); err != nil {
			c.String(http.StatusInternalServerError, err.Error())
			return
		}
		c.JSON(http.StatusOK, gin.H{"status": status})
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() }) // which ends Serve
	fmt.Println("http://" + listener.Addr().String())
	return http.Serve(listener, engine) //nolint:gosec // for the bench alone
}

// startBareHandler returns its address.
func (p *plane) startBareHandler(ctx context.Context, id string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, self, "bare-handler", p.DatabaseURL, id)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return "", err
	}
	p.bare = cmd
	line := make([]byte, 100)
	n, err := out.Read(line)
	return strings.TrimSpace(string(line[:n])), err
}

func getBare(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the bare handler gave %d: %s", resp.StatusCode, body)
	}
	return err
}

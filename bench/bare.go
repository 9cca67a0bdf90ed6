package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5/pgxpool"
)

// bareHandlerArg makes the bench the handler that the api is compared with.
const bareHandlerArg = "bare-handler"

// bareHandler is a process of its own with two Gin handlers, one that reads a row by
// its key and one that inserts a row: without a caller to know, a log, or a job to
// show. It listens on HTTP_ADDR until ctx ends.
func bareHandler(ctx context.Context, getenv func(string) string) error {
	cfg, err := pgxpool.ParseConfig(getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	cfg.MaxConns = callers
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer pool.Close()
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.GET("/jobs/:id", func(c *gin.Context) {
		var status string
		err := pool.QueryRow(c.Request.Context(), `SELECT status FROM identity.job WHERE job_id = $1`, c.Param("id")).Scan(&status)
		if err != nil {
			c.String(http.StatusInternalServerError, err.Error())
			return
		}
		c.JSON(http.StatusOK, gin.H{"status": status})
	})
	engine.POST("/tenants", func(c *gin.Context) {
		var body struct{ Slug, DisplayName, AdminEmail string }
		err := c.ShouldBindJSON(&body)
		if err == nil {
			_, err = pool.Exec(c.Request.Context(), `INSERT INTO public.bench_tenant (slug, display_name, admin_email)
				VALUES ($1, $2, $3)`, body.Slug, body.DisplayName, body.AdminEmail)
		}
		if err != nil {
			c.String(http.StatusInternalServerError, err.Error())
			return
		}
		c.JSON(http.StatusAccepted, gin.H{"slug": body.Slug})
	})
	server := &http.Server{Addr: getenv("HTTP_ADDR"), Handler: engine} //nolint:gosec // for the bench alone
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

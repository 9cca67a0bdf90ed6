package tenancy

import "context"

type fenceKey struct{}

// WithFence returns a context that carries a fence: a call that fails, with
// CodeLeaseLost, once another worker has the job. The runner gives it to a phase,
// so that whoever has an effect outside master on its behalf can ask, just before
// the effect, whether it is still the one to have it.
func WithFence(ctx context.Context, fence func(context.Context) error) context.Context {
	return context.WithValue(ctx, fenceKey{}, fence)
}

// HasFence reports whether the context has a fence, as a job's has.
func HasFence(ctx context.Context) bool {
	_, ok := ctx.Value(fenceKey{}).(func(context.Context) error)
	return ok
}

// CheckFence asks the context's fence. Without one there is no job, and no
// objection.
func CheckFence(ctx context.Context) error {
	if fence, ok := ctx.Value(fenceKey{}).(func(context.Context) error); ok {
		return fence(ctx)
	}
	return nil
}

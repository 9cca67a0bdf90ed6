package tenancy

// SignIn is an attempt to sign in to the platform.
type SignIn struct {
	Email, Password string
	// Code is a TOTP or a recovery code; empty if the person gave none.
	Code string
	// Address and UserAgent say from where.
	Address, UserAgent string
	// Token is the one the browser had before: its session ends.
	Token string
}

// SignedIn is a session just opened. Token goes into the cookie, and nowhere
// else.
type SignedIn struct {
	Session
	User  User
	Token string
}

// SignInFlow is one person's way to an OpenID Connect provider and back. It
// stays in their browser; no part of it is of use without the others.
type SignInFlow struct {
	State, Nonce, Verifier string
	// Fresh asks the provider to have the person prove who they are once more.
	Fresh bool
}

// Enrolment is a second factor that does not count until a code confirms it.
type Enrolment struct {
	// Secret is in base32, for those who type it.
	Secret string
	// URL is otpauth://, and QR a PNG image of it.
	URL string
	QR  []byte
}

//! Identity, permissions, scope and expiry of a user: token + keys + now → [`Grant`].
//!
//! Pure functions: time is an argument, the caller reads key files, and no state is kept between two tokens.
//!
//! ```text
//!   keys file ──► KeyRing ─┐
//!                          ├─► verify ──► Claims ──► Grant { user, role, permissions, project, until }
//!   token, now ────────────┘
//! ```
//!
//! - [`KeyRing`] holds the keys and verifies tokens with them; its documentation describes the keys file.
//! - [`Claims`] are the contents of a token; [`Grant`] is the result of verifying it.
//! - [`Role`], [`Permission`], [`Permissions`]: the protocol's table, as data.
//! - [`signing`] signs tokens, for the CLI, tests and load generators.
//! - [`secret_strength`] checks whether a secret is strong enough for production.
//!
//! A key is never used with an algorithm chosen by the token. Each key has exactly one; a token that names
//! another is refused before its signature is verified, and can at most select among keys with the same id. Nothing of a token's
//! content is read before its signature is verified, except the two fields of its header that select the key.
//!
//! Out of scope: where a token comes from, lists of revoked tokens ([`Grant`] contains what they need),
//! watching the key file, and closing connections whose grant has expired.
//!
//! ```
//! use agentbench_auth::{Algorithm, Claims, KeyRing, Permission, Role, SigningKey, sign};
//!
//! let secret = b"a secret that only this example knows";
//! let key = SigningKey::from_secret(Algorithm::Hs256, secret)?;
//! let token = sign(&Claims::new("ada", Role::Viewer, 1_760_000_000, 1_760_003_600), &key)?;
//!
//! let grant = KeyRing::from_secret(secret).verify(&token, 1_760_000_001_000)?;
//! assert_eq!(grant.user_id, "ada");
//! assert!(grant.allows(Permission::SessionRead) && !grant.allows(Permission::SessionPublish));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod algorithm;
mod claims;
mod error;
mod grant;
mod key;
mod key_file;
mod key_ring;
mod permission;
mod role;
mod secret;
pub mod signing;
mod token;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use claims::{AUDIENCE, Audience, Claims, ISSUER, TOKEN_TYPE};
pub use error::AuthError;
pub use grant::{CLOCK_LEEWAY_MS, Grant};
pub use key_file::{KeyError, KeyFault, PassedOver};
pub use key_ring::KeyRing;
pub use permission::{Permission, Permissions};
pub use role::{Role, UnknownRole};
pub use secret::{MIN_SECRET_BYTES, WeakSecret, secret_strength, without_line_end};
pub use signing::{SignError, SigningKey, sign};
pub use token::MAX_TOKEN_BYTES;

//! Who is this, what may they do, where, and until when: token + keys + now → [`Grant`].
//!
//! Pure functions: time is an argument, key files are read by the caller, nothing is remembered between two tokens.
//!
//! ```text
//!   keys file ──► KeyRing ─┐
//!                          ├─► verify ──► Claims ──► Grant { user, role, permissions, project, until }
//!   token, now ────────────┘
//! ```
//!
//! - [`KeyRing`] holds the keys and checks tokens with them; its keys file is described there.
//! - [`Claims`] is what a token says; [`Grant`] is what the server believes after checking it.
//! - [`Role`], [`Permission`], [`Permissions`]: the table of the protocol, as data.
//! - [`signing`] makes tokens, for the CLI, tests and load generators.
//! - [`secret_strength`] tells whether a secret is fit for production.
//!
//! What is never done here: checking a key with an algorithm that the token says. Each key has exactly one; a token that names
//! another is refused before its signature is looked at, and at most selects among keys of one name. Nothing of a token's content is read before its signature is
//! proven, except the two fields of its header that find the key.
//!
//! What is left to others: where a token comes from, lists of revoked tokens ([`Grant`] carries what they need),
//! watching the key file, and closing connections whose grant has ended.
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

//! JSON web tokens, signed with HS256. A token names a user and a session; whether the session is still open is in
//! the database.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error as JwtError, ErrorKind};
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::config::Secret;
use crate::error::Error;
use crate::model::{SessionId, SessionKey, UserId};

/// The claims of a token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// The id of the user.
    pub id: i64,
    /// The e-mail address when the token was signed.
    pub email: Option<String>,
    /// The first name when the token was signed.
    pub first_name: Option<String>,
    /// When it was signed, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// The id of the session.
    pub sid: i64,
    /// The nonce of the session, as a string of decimal digits: not every JSON reader holds so large an integer.
    #[serde(with = "decimal")]
    pub nonce: i64,
}

/// Serializes an integer as a string.
mod decimal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(super) fn serialize<S: Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Claims {
    /// The user that the token names.
    #[must_use]
    pub fn user(&self) -> UserId {
        UserId(self.id)
    }

    /// The session that the token names.
    #[must_use]
    pub fn session(&self) -> SessionKey {
        SessionKey { id: SessionId(self.sid), nonce: self.nonce }
    }
}

/// The keys with which tokens are signed and verified, and the lifetime of a token.
#[derive(Clone)]
pub struct Tokens {
    signing_key: EncodingKey,
    verifying_key: DecodingKey,
    validation: Validation,
    lifetime: Duration,
}

impl Tokens {
    /// Signs tokens with `secret`, which are valid for `hours`.
    #[must_use]
    pub fn new(secret: &Secret, hours: u32) -> Self {
        // The library keeps one provider for the whole process. A second server in it finds this one installed.
        let _ = HS256.install_default();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        Self {
            signing_key: EncodingKey::from_secret(secret.expose().as_bytes()),
            verifying_key: DecodingKey::from_secret(secret.expose().as_bytes()),
            validation,
            lifetime: Duration::from_secs(u64::from(hours) * 3600),
        }
    }

    /// When a token that is signed now ends, in seconds since 1970.
    #[must_use]
    pub fn expiry(&self) -> i64 {
        now() + i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX / 2)
    }

    /// Signs a token that ends at `exp`. `iat` is now.
    ///
    /// # Errors
    /// Never in practice: the claims are plain JSON.
    pub fn sign(
        &self,
        user: UserId,
        email: Option<String>,
        first_name: Option<String>,
        session: SessionKey,
        exp: i64,
    ) -> Result<String, Error> {
        let SessionKey { id: SessionId(sid), nonce } = session;
        let claims = Claims { id: user.0, email, first_name, iat: now(), exp, sid, nonce };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing_key).map_err(Error::internal)
    }

    /// The claims of a token, if its signature is valid and it has not ended.
    #[must_use]
    pub fn read(&self, token: &str) -> Option<Claims> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifying_key, &self.validation).ok()?.claims;
        // To the library a token is valid during its last second; sockets are closed when that second begins.
        (claims.exp > now()).then_some(claims)
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// The token in the value of an `Authorization` header.
#[must_use]
pub fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// HS256 and no other algorithm. The library's own providers depend on a crate with an open advisory, or on a build
/// of C code.
static HS256: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        only_hs256(*algorithm, key.as_bytes()).map(|mac| Box::new(mac) as Box<dyn JwtSigner>)
    },
    verifier_factory: |algorithm, key| {
        only_hs256(*algorithm, key.try_get_as_bytes()?).map(|mac| Box::new(mac) as Box<dyn JwtVerifier>)
    },
    key_utils: KeyUtils::new_unimplemented(),
};

struct HmacSha256(Hmac<Sha256>);

fn only_hs256(algorithm: Algorithm, key: &[u8]) -> Result<HmacSha256, JwtError> {
    if algorithm != Algorithm::HS256 {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Hmac::new_from_slice(key).map(HmacSha256).map_err(|_| ErrorKind::InvalidKeyFormat.into())
}

impl Signer<Vec<u8>> for HmacSha256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl JwtSigner for HmacSha256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl Verifier<Vec<u8>> for HmacSha256 {
    /// Compares in constant time.
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        self.0.clone().chain_update(message).verify_slice(signature).map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for HmacSha256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "a secret for tests, 32 bytes long";

    fn tokens() -> Tokens {
        Tokens::new(&Secret::from(SECRET), 1)
    }

    const SESSION: SessionKey = SessionKey { id: SessionId(3), nonce: (1 << 60) - 1 };

    fn token(tokens: &Tokens, exp: i64) -> String {
        tokens.sign(UserId(7), Some("a@b".to_owned()), None, SESSION, exp).expect("a token")
    }

    #[test]
    fn a_token_comes_back_as_it_was_signed() {
        let tokens = tokens();
        let claims = tokens.read(&token(&tokens, tokens.expiry())).expect("our own token");
        assert_eq!((claims.user(), claims.session(), claims.email.as_deref()), (UserId(7), SESSION, Some("a@b")));
    }

    #[test]
    fn a_known_token_of_another_maker_is_read() {
        // Made with another library: {"alg":"HS256","typ":"JWT"}, the claims below, the secret above.
        let header_and_claims = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpZCI6MSwiZW1haWwiOiJhQGIiLCJmaXJzdE5hbWUiOiJQIiwiaWF0IjoxLCJleHAiOjQxMDI0NDQ4MDAsInNpZCI6Miwibm9uY2UiOiIxMTUyOTIxNTA0NjA2ODQ2OTc1In0";
        let signature = "UKvEHosgRrxToTqh3YzEmWT1Qd6X_FnF3jvMXyKq8U0";
        let claims = tokens().read(&format!("{header_and_claims}.{signature}")).expect("a good token");
        assert_eq!((claims.id, claims.sid, claims.exp), (1, 2, 4_102_444_800));
        assert_eq!(claims.session(), SessionKey { id: SessionId(2), nonce: (1 << 60) - 1 });
    }

    #[test]
    fn a_token_without_a_nonce_is_refused() {
        // Claims from before sessions had a nonce, with a valid signature.
        let header_and_claims = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpZCI6MSwiZW1haWwiOiJhQGIiLCJmaXJzdE5hbWUiOiJQIiwiaWF0IjoxLCJleHAiOjQxMDI0NDQ4MDAsInNpZCI6Mn0";
        assert!(tokens().read(&format!("{header_and_claims}.hK_j1ThTY3UDTECUJkpg_TS_YPxrk553AVBxT0Fo2Ok")).is_none());
    }

    #[test]
    fn ended_foreign_and_unsigned_tokens_are_refused() {
        let tokens = tokens();
        assert!(tokens.read(&token(&tokens, now())).is_none());
        assert!(
            Tokens::new(&Secret::from("another secret, also 32 bytes long"), 1)
                .read(&token(&tokens, tokens.expiry()))
                .is_none()
        );
        let good = token(&tokens, tokens.expiry());
        let claims = good.split('.').nth(1).expect("three parts");
        // {"alg":"none"}
        assert!(tokens.read(&format!("eyJhbGciOiJub25lIn0.{claims}.")).is_none());
    }

    proptest! {
        #[test]
        fn one_changed_character_spoils_a_token(place in any::<prop::sample::Index>(), new in "[A-Za-z0-9_-]") {
            let tokens = tokens();
            let good = token(&tokens, tokens.expiry());
            let mut changed: Vec<char> = good.chars().collect();
            let last = changed.len() - 1;
            // The last character carries two bits that base64 leaves over.
            let place = place.index(last);
            let old = std::mem::replace(&mut changed[place], new.chars().next().expect("one"));
            prop_assume!(old.to_string() != new && old != '.');
            prop_assert!(tokens.read(&changed.into_iter().collect::<String>()).is_none());
        }

        #[test]
        fn random_text_is_no_token(text in any::<String>()) {
            prop_assert!(tokens().read(&text).is_none());
        }
    }
}

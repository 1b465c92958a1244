//! Invariants of `Authorization` headers and of the tokens in them.

use std::sync::LazyLock;

use hark::auth::tokens::{Tokens, bearer, now};
use hark::config::Secret;
use hark::model::{SessionId, SessionKey, UserId};

static TOKENS: LazyLock<Tokens> = LazyLock::new(|| Tokens::new(&Secret::from("a secret of 32 bytes or some more"), 1));

/// Verifies the bytes as the value of a header; signs a token with the bytes as its claims, and verifies that.
///
/// # Panics
/// If a forged token is accepted, or a signed one is refused.
pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for token in [Some(text.as_ref()), bearer(&text)].into_iter().flatten() {
        assert!(TOKENS.read(token).is_none(), "a forged token is accepted: {token}");
    }
    let Some((numbers, names)) = bytes.split_first_chunk::<24>() else { return };
    let number = |nth: usize| i64::from_le_bytes(*numbers[nth * 8..].first_chunk().expect("three times eight"));
    let (user, session, exp) = (number(0), number(1), number(2));
    let session = SessionKey { id: SessionId(session), nonce: session.rotate_left(32) };
    let names = String::from_utf8_lossy(names).into_owned();
    let token = TOKENS
        .sign(UserId(user), Some(names.clone()), Some(names.clone()), session, exp)
        .expect("claims are plain JSON");
    // Within two seconds of the expiry either result is right.
    if exp.abs_diff(now()) <= 2 {
        return;
    }
    let Some(claims) = TOKENS.read(&token) else { return assert!(exp <= now(), "a valid token is refused: {token}") };
    assert!(exp > now(), "an expired token is accepted: {token}");
    assert_eq!((claims.user(), claims.session(), claims.exp), (UserId(user), session, exp));
    assert_eq!((claims.email.as_deref(), claims.first_name.as_deref()), (Some(names.as_str()), Some(names.as_str())));
    assert_eq!(bearer(&format!("Bearer {token}")), Some(token.as_str()));
}

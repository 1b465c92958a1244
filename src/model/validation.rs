//! Checks that several kinds of texts share: lengths, and characters that cannot be stored or displayed.

use unicode_normalization::char::is_combining_mark;
use unicode_security::skeleton;

use super::Refusal;

/// PostgreSQL cannot hold U+0000 in a text.
pub(super) fn no_nul(text: &str) -> Result<(), Refusal> {
    if text.contains('\0') { Err("must not contain U+0000".into()) } else { Ok(()) }
}

/// Checks a length in characters, which are Unicode scalar values.
pub(super) fn chars_within(text: &str, min: usize, max: usize) -> Result<(), Refusal> {
    no_nul(text)?;
    if (min..=max).contains(&text.chars().count()) {
        Ok(())
    } else if min == 0 {
        Err(format!("must be at most {max} characters").into())
    } else {
        Err(format!("must be {min} to {max} characters").into())
    }
}

/// Whether a character is displayed as nothing, or only changes how others are displayed. (The skeleton of UTS 39
/// leaves out the former.)
pub(super) fn is_invisible(c: char) -> bool {
    skeleton(c.encode_utf8(&mut [0; 4])).next().is_none() || is_bidi_control(c) || c == '\u{2800}'
}

/// Embeddings, overrides and isolates: they reorder the text to the end of the line, beyond the name.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Checks a display name. It is stored as it was sent, in any script.
///
/// # Errors
/// With control characters, with bidirectional controls, or without a visible character.
pub(super) fn check_display_name(name: &str) -> Result<(), Refusal> {
    if name.chars().any(|c| c.is_control() || is_bidi_control(c)) {
        return Err("must not contain control characters".into());
    }
    if name.chars().all(|c| c.is_whitespace() || is_combining_mark(c) || is_invisible(c)) {
        return Err("must have something that can be seen".into());
    }
    Ok(())
}

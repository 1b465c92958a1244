//! Names of users and groups: usernames, of which no two may be confusable (Unicode Technical Standard 39), and
//! display names.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;
use unicode_security::{GeneralSecurityProfile as _, RestrictionLevel, RestrictionLevelDetection as _, skeleton};

use super::Refusal;
use super::validation::{chars_within, is_invisible};
use crate::config::Limits;

/// Maximum number of characters of a username.
const MAX_USERNAME_CHARS: usize = 64;
/// Maximum number of combining marks of one letter; no language needs more.
const MAX_MARKS: usize = 4;

/// A username to sign in with: 1 to 64 characters, no space and no @. It is ASCII, or letters, marks and digits of
/// one script, or of the scripts in which Chinese, Japanese and Korean are written together with Latin. It is
/// normalised (NFKC), so full-width letters and other variants become the letters that they stand for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Username(String);

impl Username {
    /// # Errors
    /// Empty, over 64 characters, with a space, a control character or an @, or deceptive: invisible characters,
    /// symbols, letters of several scripts.
    #[expect(clippy::needless_pass_by_value, reason = "every text is parsed alike, and most of them keep it")]
    pub fn parse(text: String, _: &Limits) -> Result<Self, Refusal> {
        chars_within(&text, 1, MAX_USERNAME_CHARS)?;
        let name: String = text.nfkc().collect();
        if [&text, &name].iter().any(|name| name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '@')) {
            return Err("must not contain spaces or @".into());
        }
        chars_within(&name, 1, MAX_USERNAME_CHARS)?;
        if text.chars().chain(name.chars()).any(is_invisible) {
            return Err("must not contain characters that cannot be seen".into());
        }
        // Punctuation of ASCII belongs to no script, and usernames from before these rules have it.
        let letters: String = name.chars().filter(|c| !c.is_ascii() || c.is_ascii_alphanumeric()).collect();
        if letters.chars().any(|c| !c.identifier_allowed()) {
            return Err("must be made of letters, digits and marks of ASCII".into());
        }
        if !letters.as_str().check_restriction_level(RestrictionLevel::HighlyRestrictive) {
            return Err("must not mix letters of several scripts".into());
        }
        if has_odd_marks(&name) {
            return Err("must not have marks without a letter, or more than a letter has in any language".into());
        }
        Ok(Self(name))
    }

    /// The normalised name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key that is equal for names which differ only in letter case, or are confusable in lower case.
    #[must_use]
    pub fn key(&self) -> String {
        username_key(&self.0)
    }

    /// The skeleton of UTS 39, which is equal for names that are confusable as displayed.
    #[must_use]
    pub fn skeleton(&self) -> String {
        username_skeleton(&self.0)
    }
}

/// A username as it is typed to sign in. It is checked less: accounts from before the rules of [`Username`] may have
/// one that these refuse.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoginUsername(String);

impl LoginUsername {
    /// # Errors
    /// Empty, over 64 characters, or with a space, a control character or an @.
    pub fn parse(text: String, _: &Limits) -> Result<Self, Refusal> {
        chars_within(&text, 1, MAX_USERNAME_CHARS)?;
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '@') {
            return Err("must not contain spaces or @".into());
        }
        Ok(Self(text))
    }

    /// The name as it was typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// See [`Username::key`]; for any text, because stored names may be older than the rules.
#[must_use]
pub fn username_key(text: &str) -> String {
    let lower: String = text.nfkc().flat_map(char::to_lowercase).map(|c| if c == 'ς' { 'σ' } else { c }).collect();
    // A dot above i or j is not visible; the lower case of the Turkish İ has one.
    let mut key = String::with_capacity(lower.len());
    for c in lower.nfd() {
        if c != '\u{307}' || !key.ends_with(['i', 'j']) {
            key.push(c);
        }
    }
    skeleton(&key).collect()
}

/// See [`Username::skeleton`].
#[must_use]
pub fn username_skeleton(text: &str) -> String {
    let name: String = text.nfkc().collect();
    skeleton(&name).collect()
}

/// Whether there are more combining marks in a row than any language has, the same one twice, or one without a
/// letter before it.
fn has_odd_marks(name: &str) -> bool {
    let mut marks: Vec<char> = Vec::new();
    let mut has_letter = false;
    for c in name.nfd() {
        if !is_combining_mark(c) {
            (has_letter, marks) = (true, Vec::new());
        } else if !has_letter || marks.len() == MAX_MARKS || marks.last() == Some(&c) {
            return true;
        } else {
            marks.push(c);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use proptest::prelude::*;

    use super::super::validation::check_display_name;
    use super::*;
    use crate::config::Cli;

    fn parse(text: &str) -> Result<Username, Refusal> {
        Username::parse(text.to_owned(), &Cli::parse_from(["hark"]).config.limits)
    }

    fn named(text: &str) -> Username {
        parse(text).unwrap_or_else(|refusal| panic!("{text}: {refusal}"))
    }

    #[test]
    fn username_accepts_any_script() {
        for name in [
            "ann",
            "Patrick0",
            "o'hara",
            "a.b-c_d+e",
            "!#$%",
            "Émile",
            "Пётр",
            "Ελένη",
            "田中太郎",
            "さくら",
            "タロウ",
            "김철수",
            "محمد",
            "שרה",
            "प्रिया",
            "สมชาย",
            "Nguyễn",
            "ann田中",
            "Ğülşah",
            "İpek",
            "ქეთევანი",
            "Արամ",
            "አበበ",
        ] {
            assert_eq!(named(name).as_str(), name.nfkc().collect::<String>());
        }
    }

    #[test]
    fn username_key_is_equal_for_confusable_names() {
        let pairs = [
            ("ann", "ANN"),
            ("ann", "ａｎｎ"),
            ("ann", "𝐚𝐧𝐧"),
            ("Émile", "E\u{301}mile"),
            ("οδος", "ΟΔΟΣ"),
            ("сор", "cop"),
            ("ipek", "İpek"),
            ("kim", "\u{212a}im"),
            ("scope", "ѕсоре"),
        ];
        for (one, other) in pairs {
            assert_eq!(named(one).key(), named(other).key(), "{one} {other}");
        }
        assert_eq!(named("paul").skeleton(), named("pauI").skeleton());
        assert_ne!(named("paul").key(), named("ann").key());
        assert_ne!(named("ian").skeleton(), named("lan").skeleton());
    }

    #[test]
    fn username_refuses_deceptive_names() {
        for name in [
            "ann\u{200b}",
            "a\u{200d}nn",
            "\u{202e}nna",
            "ann\u{2069}",
            "\u{3164}",
            "ann\u{3164}",
            "a\u{ad}nn",
            "\u{feff}ann",
            "аnn",
            "pаypal",
            "аnnа1x\u{3b1}",
            "a\u{301}\u{301}nn",
            "\u{301}ann",
            "ann\u{fe0f}",
            "\u{2800}",
            "\u{e0061}nn",
            "a\u{30a}\u{301}\u{302}\u{303}\u{304}",
            "ann＠b",
            "ann\u{3000}b",
            "🐧",
        ] {
            assert!(parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn check_display_name_requires_a_visible_character() {
        for name in ["Ann", " padded ", "🐧 Пётр 中文", "👨‍👩‍👧", "O'Hara", "می‌خواهم", "1"]
        {
            assert!(check_display_name(name).is_ok(), "{name}");
        }
        for name in ["\u{3164}", " \u{200b} ", "\u{2800}", "\u{301}", "a\u{202e}b", "a\nb", "\u{2066}a", "\u{ad}"] {
            assert!(check_display_name(name).is_err(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn username_is_unchanged_by_a_second_normalisation(text in "\\PC{1,20}") {
            if let Ok(name) = parse(&text) {
                prop_assert_eq!(parse(name.as_str()).expect("a name that was taken"), name.clone());
                prop_assert_eq!(username_key(&text), name.key());
                prop_assert_eq!(username_skeleton(&text), name.skeleton());
                prop_assert!(!name.key().is_empty() && !name.skeleton().is_empty());
            }
        }

        #[test]
        fn username_accepts_all_printable_ascii_but_at(text in "[!-?A-~]{1,64}") {
            let name = named(&text);
            prop_assert_eq!(name.as_str(), text);
        }
    }
}

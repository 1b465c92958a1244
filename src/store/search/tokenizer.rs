//! The tokenizer of the full-text search, for messages and queries alike, in any language. There is no stemming, and
//! there are no stop words.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::iter::once;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// Maximum length of the prefix of a word that the index holds, in characters.
const MAX_INDEXED_CHARS: usize = 64;
/// Maximum total length of the tokens of one message in the index; a `tsvector` holds a megabyte.
const MAX_INDEXED_BYTES: usize = 512 * 1024;
/// Maximum number of prefixes in a query of the index. The longest words are taken: the index reads all lexemes with a
/// prefix, of all users' messages.
const MAX_PREFIXES: usize = 4;
/// Maximum number of pairs of characters in a query of the index.
const MAX_PAIRS: usize = 64;
/// The lexeme of a message whose tokens exceed [`MAX_INDEXED_BYTES`]: it is a candidate for every query.
const ANY_TOKEN: &str = "'!'";

/// The tokens of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SearchTokens {
    /// Consecutive letters, digits and marks, case-folded. A query matches them by prefix.
    words: BTreeSet<String>,
    /// The same of scripts without spaces between words. A query matches any part of them.
    runs: BTreeSet<String>,
}

impl SearchTokens {
    pub(super) fn of(text: &str) -> Self {
        let mut tokens = Self::default();
        let mut current = String::new();
        let mut in_run = false;
        for c in text
            .nfkc()
            .map(fold_letter)
            .flat_map(expand_sharp_s)
            .flat_map(char::to_lowercase)
            .filter(|c| !is_ignorable(*c))
        {
            if !c.is_alphanumeric() {
                // A mark belongs to the letter before it: in the scripts of India it distinguishes words.
                if !current.is_empty() && is_combining_mark(c) {
                    current.push(c);
                } else {
                    tokens.push(&mut current, in_run);
                }
                continue;
            }
            if in_run != is_unspaced(c) {
                tokens.push(&mut current, in_run);
                in_run = !in_run;
            }
            current.push(c);
        }
        tokens.push(&mut current, in_run);
        tokens
    }

    fn push(&mut self, token: &mut String, is_run: bool) {
        if !token.is_empty() {
            let tokens = if is_run { &mut self.runs } else { &mut self.words };
            tokens.insert(std::mem::take(token));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty() && self.runs.is_empty()
    }

    /// Whether a text matches all of these tokens: a word has to be a prefix of one of its words, a run a part of one
    /// of its runs.
    pub(super) fn match_text(&self, text: &str) -> bool {
        let text = Self::of(text);
        let is_prefix =
            |word: &String| text.words.range(word.clone()..).next().is_some_and(|own| own.starts_with(word));
        let is_part = |run: &String| text.runs.iter().any(|own| own.contains(run));
        self.words.iter().all(is_prefix) && self.runs.iter().all(is_part)
    }

    /// The tokens as a `tsvector` without positions. A run is indexed as its pairs of characters and its last one.
    pub(super) fn vector(&self) -> String {
        let mut lexemes: BTreeSet<String> = self.words.iter().map(|word| indexed_part(word)).collect();
        for run in &self.runs {
            lexemes.extend(pairs(run));
            lexemes.extend(run.chars().next_back().map(String::from));
        }
        // Each lexeme takes two quotes and a space too.
        if lexemes.iter().map(|lexeme| lexeme.len() + 3).sum::<usize>() > MAX_INDEXED_BYTES {
            return ANY_TOKEN.to_owned();
        }
        lexemes.iter().map(|lexeme| quoted(lexeme)).collect::<Vec<_>>().join(" ")
    }

    /// A `tsquery` that finds the vector of every text that matches, and possibly others: it ignores the positions of
    /// pairs, compares only the prefix of a long word, and leaves out some of many words.
    pub(super) fn query(&self) -> String {
        let pairs: BTreeSet<String> = self.runs.iter().flat_map(|run| pairs(run)).collect();
        // A run of one character is a prefix of a pair, or the end of a run.
        let single = self.runs.iter().filter(|run| run.chars().nth(1).is_none());
        let mut prefixes: Vec<String> =
            self.words.iter().map(|word| indexed_part(word)).chain(single.cloned()).collect();
        prefixes.sort_by_key(|prefix| Reverse(prefix.chars().count()));
        let prefixes = prefixes.iter().take(MAX_PREFIXES).map(|prefix| format!("{}:*", quoted(prefix)));
        let terms: Vec<String> = prefixes.chain(pairs.iter().take(MAX_PAIRS).map(|pair| quoted(pair))).collect();
        format!("({} | {ANY_TOKEN})", terms.join(" & "))
    }
}

/// Quotes a lexeme. It has letters, digits and marks alone; the escapes are for what a mark may turn out to be.
fn quoted(lexeme: &str) -> String {
    format!("'{}'", lexeme.replace('\\', "\\\\").replace('\'', "''"))
}

fn indexed_part(word: &str) -> String {
    word.chars().take(MAX_INDEXED_CHARS).collect()
}

/// All pairs of adjacent characters.
fn pairs(run: &str) -> impl Iterator<Item = String> {
    run.chars().zip(run.chars().skip(1)).map(|(first, second)| String::from_iter([first, second]))
}

/// Folds letters that a search does not distinguish: the final sigma, and the i with and without a dot.
fn fold_letter(c: char) -> char {
    match c {
        'ς' => 'σ',
        'İ' | 'ı' => 'i',
        c => c,
    }
}

/// Expands the sharp s, which is written as two letters in capitals.
fn expand_sharp_s(c: char) -> impl Iterator<Item = char> {
    let (first, second) = if matches!(c, 'ß' | 'ẞ') { ('s', Some('s')) } else { (c, None) };
    once(first).chain(second)
}

/// Characters that are invisible or only stretch a word: joiners, soft hyphens, variation selectors, the tatweel.
fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{640}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// Whether a character is of a script without spaces between words: Thai, Lao, Myanmar, Khmer, Hiragana, Katakana, Han.
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}'
        | '\u{1000}'..='\u{109f}' | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aa7f}'
        | '\u{1780}'..='\u{17ff}'
        | '\u{3005}'..='\u{3007}' | '\u{3021}'..='\u{3029}' | '\u{3031}'..='\u{3035}' | '\u{3038}'..='\u{303c}'
        | '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{1aff0}'..='\u{1b16f}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn finds(query: &str, text: &str) -> bool {
        SearchTokens::of(query).match_text(text)
    }

    /// What PostgreSQL does with the `tsquery` and the `tsvector`.
    fn index_finds(query: &SearchTokens, text: &SearchTokens) -> bool {
        let vector = text.vector();
        let lexemes: Vec<&str> = vector.split(' ').map(|lexeme| lexeme.trim_matches('\'')).collect();
        let query = query.query();
        let query = query.trim_start_matches('(').split(" | ").next().expect("terms");
        query.split(" & ").filter(|term| !term.is_empty()).all(|term| match term.strip_suffix(":*") {
            Some(prefix) => lexemes.iter().any(|lexeme| lexeme.starts_with(prefix.trim_matches('\''))),
            None => lexemes.contains(&term.trim_matches('\'')),
        })
    }

    #[test]
    fn match_text_finds_a_word_by_its_prefix_in_any_case() {
        assert!(finds("TEA", "Who wants Teapots?"));
        assert!(!finds("pots", "Who wants Teapots?"));
        assert!(finds("want who", "Who wants Teapots?"), "in any order");
        assert!(!finds("who coffee", "Who wants Teapots?"), "all of them");
        assert!(finds("при", "Всем ПРИВЕТ!") && finds("ΟΔΟΣ", "η οδός, οδος") && finds("istanbul", "İstanbul"));
        assert!(finds("GRÜSSE", "Grüße aus Köln") && finds("grüße", "GRÜSSE"));
    }

    #[test]
    fn tokens_keep_marks_with_their_letters() {
        assert!(finds("cafe\u{301}", "Café") && finds("Café", "cafe\u{301}s"));
        assert_eq!(SearchTokens::of("नमस्ते दुनिया").words.len(), 2);
        assert!(finds("नमस", "नमस्ते दुनिया") && finds("दुनिया", "नमस्ते दुनिया"));
        assert!(finds("می‌خواهم", "میخواهم"), "with a joiner or without");
    }

    #[test]
    fn match_text_finds_any_part_of_a_run() {
        assert!(finds("京都", "東京都に行く") && finds("都", "東京都") && finds("東京都", "東京都に行く"));
        assert!(!finds("東京都", "京都の東京"), "side by side, not somewhere");
        assert!(
            index_finds(&SearchTokens::of("東京都"), &SearchTokens::of("京都、東京")),
            "which the index cannot tell"
        );
        assert!(finds("สวัสดี", "ขอสวัสดีครับ") && finds("ホテル", "ﾎﾃﾙ"));
        assert!(finds("iphone手机", "我的iPhone 手机壳"));
    }

    #[test]
    fn tokens_of_a_text_without_words_are_empty() {
        for text in ["", " ", "🎉👨‍👩‍👧", "'\"\\ & | ! <-> :*", "\u{301}", "\u{200d}"] {
            assert!(SearchTokens::of(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn vector_of_too_many_words_matches_every_query() {
        let long = (0..100_000).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(SearchTokens::of(&long).vector(), ANY_TOKEN);
        assert!(SearchTokens::of("tea").query().ends_with(&format!("| {ANY_TOKEN})")));
        let word = "x".repeat(16_384);
        assert_eq!(SearchTokens::of(&word).vector().len(), MAX_INDEXED_CHARS + 2);
    }

    #[test]
    fn query_leaves_out_some_of_many_words() {
        let letters = ('a'..='z').map(String::from).collect::<Vec<_>>().join(" ");
        let query = SearchTokens::of(&format!("{letters} teapot"));
        assert_eq!(query.query().matches(":*").count(), MAX_PREFIXES);
        assert!(query.query().contains("'teapot':*"));
        let long: String = ('\u{4e00}'..'\u{4ef0}').collect();
        assert_eq!(SearchTokens::of(&long).query().matches('&').count() + 1, MAX_PAIRS);
        assert!(index_finds(&SearchTokens::of(&long), &SearchTokens::of(&long)));
    }

    proptest! {
        #[test]
        fn query_finds_every_text_that_matches(text in "\\PC{0,40}", from in 0_usize..40, length in 1_usize..20) {
            let query: String = text.chars().skip(from).take(length).collect();
            let (query, text_tokens) = (SearchTokens::of(&query), SearchTokens::of(&text));
            prop_assert!(!query.match_text(&text) || index_finds(&query, &text_tokens), "{:?} {:?}", query, text_tokens);
        }

        #[test]
        fn query_finds_a_run_by_any_of_its_parts(text in "[你好吗的\u{3042}-\u{3096}]{1,20}", from in 0_usize..20, length in 1_usize..20) {
            let query: String = text.chars().skip(from).take(length).collect();
            let query = SearchTokens::of(&query);
            prop_assert!(query.match_text(&text) && (query.is_empty() || index_finds(&query, &SearchTokens::of(&text))));
        }

        #[test]
        fn tokens_have_only_letters_digits_and_marks(text in any::<String>()) {
            let SearchTokens { words, runs } = SearchTokens::of(&text);
            for c in words.iter().chain(&runs).flat_map(|word| word.chars()) {
                prop_assert!(c.is_alphanumeric() || is_combining_mark(c), "{:?}", c);
            }
        }
    }
}

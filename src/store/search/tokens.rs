//! What a text is made of, for messages and queries alike, in any language: no word is cut to a stem
//! and none is left out for being frequent.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::iter::once;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// Longest part of a word that the index knows, in characters.
const MAX_INDEXED_CHARS: usize = 64;
/// Most bytes of words that the index takes of one message: a `tsvector` holds a megabyte.
const MAX_INDEXED_BYTES: usize = 512 * 1024;
/// Most words of a query that the index is asked for by how they begin, the longest ones: it reads all that
/// begins so, whoever wrote it.
const MAX_PREFIXES: usize = 4;
/// Most pairs of characters of a query that the index is asked for.
const MAX_PAIRS: usize = 64;
/// Stands for the words of a message that has more of them: it may match anything.
const ANY_WORD: &str = "'!'";

/// The words of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// Letters, digits and marks in a row, folded.
    words: BTreeSet<String>,
    /// The same of scripts that put no spaces between words: here any part of them is a word.
    runs: BTreeSet<String>,
}

impl Words {
    pub(super) fn of(text: &str) -> Self {
        let mut words = Self::default();
        let mut current = String::new();
        let mut in_run = false;
        for c in
            text.nfkc().map(same_letter).flat_map(sharp_s).flat_map(char::to_lowercase).filter(|c| !is_ignorable(*c))
        {
            if !c.is_alphanumeric() {
                // A mark belongs to the letter before it: without its signs many a word of India is another one.
                if !current.is_empty() && is_combining_mark(c) {
                    current.push(c);
                } else {
                    words.take(&mut current, in_run);
                }
                continue;
            }
            if in_run != is_unspaced(c) {
                words.take(&mut current, in_run);
                in_run = !in_run;
            }
            current.push(c);
        }
        words.take(&mut current, in_run);
        words
    }

    fn take(&mut self, word: &mut String, is_run: bool) {
        if !word.is_empty() {
            let words = if is_run { &mut self.runs } else { &mut self.words };
            words.insert(std::mem::take(word));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty() && self.runs.is_empty()
    }

    /// Whether a text has all of these: words where one of its own begins, runs anywhere in one.
    pub(super) fn are_in(&self, text: &str) -> bool {
        let text = Self::of(text);
        let begins = |word: &String| text.words.range(word.clone()..).next().is_some_and(|own| own.starts_with(word));
        let is_part = |run: &String| text.runs.iter().any(|own| own.contains(run));
        self.words.iter().all(begins) && self.runs.iter().all(is_part)
    }

    /// As a `tsvector`, without places in the text.
    pub(super) fn vector(&self) -> String {
        let mut lexemes: BTreeSet<String> = self.words.iter().map(|word| indexed_part(word)).collect();
        for run in &self.runs {
            lexemes.extend(pairs(run));
            lexemes.extend(run.chars().next_back().map(String::from));
        }
        // Room for quotes and a space as well.
        if lexemes.iter().map(|lexeme| lexeme.len() + 3).sum::<usize>() > MAX_INDEXED_BYTES {
            return ANY_WORD.to_owned();
        }
        lexemes.iter().map(|lexeme| quoted(lexeme)).collect::<Vec<_>>().join(" ")
    }

    /// A `tsquery` that finds every vector of a text that has these words, and maybe others: it cannot
    /// tell where pairs stand, long words only by how they begin, and of many words it leaves some out.
    pub(super) fn query(&self) -> String {
        let pairs: BTreeSet<String> = self.runs.iter().flat_map(|run| pairs(run)).collect();
        // One character begins a pair or ends a run.
        let single = self.runs.iter().filter(|run| run.chars().nth(1).is_none());
        let mut prefixes: Vec<String> =
            self.words.iter().map(|word| indexed_part(word)).chain(single.cloned()).collect();
        prefixes.sort_by_key(|prefix| Reverse(prefix.chars().count()));
        let prefixes = prefixes.iter().take(MAX_PREFIXES).map(|prefix| format!("{}:*", quoted(prefix)));
        let terms: Vec<String> = prefixes.chain(pairs.iter().take(MAX_PAIRS).map(|pair| quoted(pair))).collect();
        format!("({} | {ANY_WORD})", terms.join(" & "))
    }
}

/// Letters and digits alone, and nothing in there means anything to PostgreSQL; but who knows of marks.
fn quoted(lexeme: &str) -> String {
    format!("'{}'", lexeme.replace('\\', "\\\\").replace('\'', "''"))
}

fn indexed_part(word: &str) -> String {
    word.chars().take(MAX_INDEXED_CHARS).collect()
}

/// Every two characters that stand side by side.
fn pairs(run: &str) -> impl Iterator<Item = String> {
    run.chars().zip(run.chars().skip(1)).map(|(first, second)| String::from_iter([first, second]))
}

/// Letters that differ by their place in a word, or by who writes them, and not for who looks for them:
/// the two small sigmas, and the i with and without a dot.
fn same_letter(c: char) -> char {
    match c {
        'ς' => 'σ',
        'İ' | 'ı' => 'i',
        c => c,
    }
}

/// The sharp s, which capitals write as two.
fn sharp_s(c: char) -> impl Iterator<Item = char> {
    let (first, second) = if matches!(c, 'ß' | 'ẞ') { ('s', Some('s')) } else { (c, None) };
    once(first).chain(second)
}

/// What nobody sees, or what only stretches a word: joiners, hyphens that break lines, selectors, the tatweel.
fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{640}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// Thai, Lao, Myanmar, Khmer, Hiragana, Katakana and Han.
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
        Words::of(query).are_in(text)
    }

    /// What PostgreSQL does with the two.
    fn index_finds(query: &Words, text: &Words) -> bool {
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
    fn a_word_is_found_by_how_it_begins_in_any_case() {
        assert!(finds("TEA", "Who wants Teapots?"));
        assert!(!finds("pots", "Who wants Teapots?"));
        assert!(finds("want who", "Who wants Teapots?"), "in any order");
        assert!(!finds("who coffee", "Who wants Teapots?"), "all of them");
        assert!(finds("при", "Всем ПРИВЕТ!") && finds("ΟΔΟΣ", "η οδός, οδος") && finds("istanbul", "İstanbul"));
        assert!(finds("GRÜSSE", "Grüße aus Köln") && finds("grüße", "GRÜSSE"));
    }

    #[test]
    fn marks_stay_with_their_letters() {
        assert!(finds("cafe\u{301}", "Café") && finds("Café", "cafe\u{301}s"));
        assert_eq!(Words::of("नमस्ते दुनिया").words.len(), 2);
        assert!(finds("नमस", "नमस्ते दुनिया") && finds("दुनिया", "नमस्ते दुनिया"));
        assert!(finds("می‌خواهم", "میخواهم"), "with a joiner or without");
    }

    #[test]
    fn scripts_without_spaces_are_found_anywhere_in_a_row() {
        assert!(finds("京都", "東京都に行く") && finds("都", "東京都") && finds("東京都", "東京都に行く"));
        assert!(!finds("東京都", "京都の東京"), "side by side, not somewhere");
        assert!(index_finds(&Words::of("東京都"), &Words::of("京都、東京")), "which the index cannot tell");
        assert!(finds("สวัสดี", "ขอสวัสดีครับ") && finds("ホテル", "ﾎﾃﾙ"));
        assert!(finds("iphone手机", "我的iPhone 手机壳"));
    }

    #[test]
    fn what_has_no_word_is_empty() {
        for text in ["", " ", "🎉👨‍👩‍👧", "'\"\\ & | ! <-> :*", "\u{301}", "\u{200d}"] {
            assert!(Words::of(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn a_text_with_too_many_words_may_match_anything() {
        let long = (0..100_000).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(Words::of(&long).vector(), ANY_WORD);
        assert!(Words::of("tea").query().ends_with(&format!("| {ANY_WORD})")));
        let word = "x".repeat(16_384);
        assert_eq!(Words::of(&word).vector().len(), MAX_INDEXED_CHARS + 2);
    }

    #[test]
    fn of_many_words_the_index_is_asked_for_some() {
        let letters = ('a'..='z').map(String::from).collect::<Vec<_>>().join(" ");
        let query = Words::of(&format!("{letters} teapot"));
        assert_eq!(query.query().matches(":*").count(), MAX_PREFIXES);
        assert!(query.query().contains("'teapot':*"));
        let long: String = ('\u{4e00}'..'\u{4ef0}').collect();
        assert_eq!(Words::of(&long).query().matches('&').count() + 1, MAX_PAIRS);
        assert!(index_finds(&Words::of(&long), &Words::of(&long)));
    }

    proptest! {
        #[test]
        fn the_index_finds_whatever_matches(text in "\\PC{0,40}", from in 0_usize..40, length in 1_usize..20) {
            let query: String = text.chars().skip(from).take(length).collect();
            let (query, text_words) = (Words::of(&query), Words::of(&text));
            prop_assert!(!query.are_in(&text) || index_finds(&query, &text_words), "{:?} {:?}", query, text_words);
        }

        #[test]
        fn a_run_is_found_by_any_of_its_parts(text in "[你好吗的\u{3042}-\u{3096}]{1,20}", from in 0_usize..20, length in 1_usize..20) {
            let query: String = text.chars().skip(from).take(length).collect();
            let query = Words::of(&query);
            prop_assert!(query.are_in(&text) && (query.is_empty() || index_finds(&query, &Words::of(&text))));
        }

        #[test]
        fn whatever_is_written_its_words_are_plain(text in any::<String>()) {
            let Words { words, runs } = Words::of(&text);
            for c in words.iter().chain(&runs).flat_map(|word| word.chars()) {
                prop_assert!(c.is_alphanumeric() || is_combining_mark(c), "{:?}", c);
            }
        }
    }
}

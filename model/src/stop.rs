//! Stop strings over text that comes in pieces.

use crate::{Error, Result};

/// Lets text through up to the first stop string, and holds back what may be the start of one.
///
/// The first is the one that ends first, the longest if several end together: what comes out does not depend
/// on how the text was cut into pieces.
///
/// ```
/// use strix_model::stop::StopMatcher;
///
/// let mut stops = StopMatcher::new(vec!["STOP".into()])?;
/// assert_eq!(stops.push("one ST"), "one ");
/// assert_eq!(stops.push("ONE STOP more"), "STONE ");
/// assert_eq!(stops.matched(), Some("STOP"));
/// # Ok::<(), strix_model::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    /// Text not let through yet, a true prefix of some stop string.
    held: String,
    matched: Option<usize>,
}

impl StopMatcher {
    /// A matcher of these strings; with none, all text passes at once.
    ///
    /// # Errors
    ///
    /// If one is empty: it would stop before anything is said.
    pub fn new(stops: Vec<String>) -> Result<Self> {
        if let Some(at) = stops.iter().position(String::is_empty) {
            return Err(Error::StopText { index: at, count: stops.len() });
        }
        Ok(Self { stops, held: String::new(), matched: None })
    }

    /// Takes the next piece and returns the text that is safe to show, perhaps none.
    ///
    /// After a match nothing more comes out.
    pub fn push(&mut self, text: &str) -> String {
        let mut safe = String::new();
        self.push_to(text, &mut safe);
        safe
    }

    /// [`StopMatcher::push`] that appends to a text.
    pub(crate) fn push_to(&mut self, text: &str, safe: &mut String) {
        if self.matched.is_some() {
            return;
        }
        if self.stops.is_empty() {
            safe.push_str(text);
            return;
        }
        let known = self.held.len();
        self.held += text;
        for end in (known + 1..=self.held.len()).filter(|&end| self.held.is_char_boundary(end)) {
            let ending = |stop: &&String| self.held[..end].ends_with(stop.as_str());
            if let Some(stop) = self.stops.iter().filter(ending).max_by_key(|stop| stop.len()) {
                self.held.truncate(end - stop.len());
                self.matched = self.stops.iter().position(|other| other == stop);
                safe.push_str(&self.held);
                self.held.clear();
                return;
            }
        }
        let begins_a_stop = |at: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[*at..]));
        let at = self.held.char_indices().map(|(at, _)| at).find(begins_a_stop);
        let at = at.unwrap_or(self.held.len());
        safe.push_str(&self.held[..at]);
        self.held.drain(..at);
    }

    /// The stop string that was met; the text before it has come out, and it has not.
    pub fn matched(&self) -> Option<&str> {
        Some(&self.stops[self.matched?])
    }

    /// Ends the text: returns what was held back, which turned out to be no stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(stops: &[&str]) -> StopMatcher {
        StopMatcher::new(stops.iter().map(|&stop| stop.to_owned()).collect()).unwrap()
    }

    #[test]
    fn text_before_a_stop_string_comes_out_and_nothing_after() {
        let mut stop = matcher(&["USER:"]);
        assert_eq!(stop.push("a cat US"), "a cat ");
        assert_eq!(stop.matched(), None);
        assert_eq!(stop.push("ER: and"), "");
        assert_eq!(stop.matched(), Some("USER:"));
        assert_eq!(stop.push("more") + &stop.finish(), "");
    }

    #[test]
    fn a_false_start_comes_out_once_it_is_known_to_be_one() {
        let mut stop = matcher(&["\n\n"]);
        assert_eq!(stop.push("one\n"), "one");
        assert_eq!(stop.push("two\n"), "\ntwo");
        assert_eq!(stop.finish(), "\n");
    }

    #[test]
    fn a_false_start_may_hold_the_true_one() {
        let mut stop = matcher(&["aab"]);
        assert_eq!(stop.push("aa"), "");
        assert_eq!(stop.push("a"), "a");
        assert_eq!(stop.push("b"), "");
        assert_eq!(stop.matched(), Some("aab"));
    }

    #[test]
    fn of_stop_strings_that_end_together_the_longest_counts() {
        let mut stop = matcher(&["b", "ab"]);
        assert_eq!(stop.push("xab"), "x");
        assert_eq!(stop.matched(), Some("ab"));
    }

    #[test]
    fn an_empty_stop_string_is_refused() {
        let error = StopMatcher::new(vec!["x".into(), String::new()]).unwrap_err();
        assert_eq!(error.to_string(), "stop string 1 of 2 is empty");
    }

    /// Every text of up to 6 of these characters, cut in every way, against a search of the whole text.
    #[test]
    fn nothing_of_a_stop_string_comes_out_and_nothing_else_is_lost() {
        let alphabet = ["a", "b", "\u{e9}"];
        for stops in [&["ab"][..], &["aa"], &["aba", "b\u{e9}"], &["ab", "aaba"], &["\u{e9}\u{e9}b"], &[]] {
            let mut texts = vec![String::new()];
            for _ in 0..6 {
                let longer = texts.iter().flat_map(|text| alphabet.map(|c| text.clone() + c));
                texts = std::iter::once(String::new()).chain(longer).collect();
            }
            for text in &texts {
                let found = stops.iter().filter_map(|stop| {
                    let at = text.find(stop)?;
                    Some((at + stop.len(), at))
                });
                let want = &text[..found.min().map_or(text.len(), |(_, at)| at)];
                let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).skip(1).collect();
                for cuts in 0..1_u32 << ends.len() {
                    let mut stop = matcher(stops);
                    let (mut got, mut start) = (String::new(), 0);
                    for (i, &end) in ends.iter().enumerate() {
                        if cuts >> i & 1 == 1 {
                            got += &stop.push(&text[start..end]);
                            assert!(want.starts_with(&got), "{text:?}, stops {stops:?}: {got:?} came out");
                            start = end;
                        }
                    }
                    got += &stop.push(&text[start..]);
                    got += &stop.finish();
                    assert_eq!(got, want, "{text:?}, stops {stops:?}, cuts {cuts:b}");
                    assert_eq!(stop.matched().is_some(), want.len() < text.len(), "{text:?}, {stops:?}");
                }
            }
        }
    }
}

//! Which of the known words a misspelt one was likely meant to be.

/// The nearest of `known`, if it is near enough to be worth suggesting. Case, `-` and `_` do not count.
pub(super) fn likely<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Longer ones are not misspelt words, and comparing them costs the square of their length.
    const LONGEST: usize = 64;
    if written.len() > LONGEST {
        return None;
    }
    let folded = fold(written);
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&folded, &fold(word)), word))
        .filter(|&(distance, word)| distance <= (written.len().min(word.len()) / 3).max(1))
        .min()
        .map(|(_, word)| word)
}

/// A hint that suggests the nearest of `known`, or else lists nothing but `otherwise`.
pub(super) fn suggest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
    otherwise: &str,
) -> String {
    match likely(written, known) {
        Some(word) => format!("did you mean `{word}`?"),
        None => otherwise.to_owned(),
    }
}

fn fold(word: &str) -> String {
    word.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [&str; 4] = ["hosts", "ports", "workloadSelector", "exportTo"];

    #[test]
    fn a_misspelt_word_finds_the_nearest() {
        assert_eq!(likely("host", FIELDS), Some("hosts"));
        assert_eq!(likely("port", FIELDS), Some("ports"));
        assert_eq!(likely("workload_selectr", FIELDS), Some("workloadSelector"));
        assert_eq!(likely("exprotTo", FIELDS), Some("exportTo"));
    }

    #[test]
    fn a_strange_word_finds_none() {
        assert_eq!(likely("colour", FIELDS), None);
        assert_eq!(likely(&"hosts".repeat(100), FIELDS), None);
    }
}

//! Paths that look like a word.

/// How many paths an error names.
const SHOWN: usize = 3;

/// The paths that are most similar to what is quoted in `text`, the most similar one first.
pub(super) fn similar(text: &str, paths: &[String]) -> Vec<String> {
    let quoted: Vec<&str> = text.split('"').skip(1).step_by(2).collect();
    let distance = |path: &String| {
        let distances = quoted.iter().map(|word| edits(word, path));
        distances.min().unwrap_or(usize::MAX)
    };
    let mut by_distance: Vec<&String> = paths.iter().collect();
    by_distance.sort_by_cached_key(|path| distance(path));
    by_distance.into_iter().take(SHOWN).cloned().collect()
}

/// The Levenshtein distance: how many characters are to be added, removed or replaced to make `b` out of `a`.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, expected) in [
            ("haed", "head", 2),
            ("head", "head", 0),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edits(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn the_path_that_was_meant_comes_first() {
        let paths = ["body.weight", "body.bias", "head.bias", "head.weight"].map(String::from);
        let found = similar("Path { path: \"haed.weight\" }", &paths);
        assert_eq!(found[0], "head.weight");
        assert_eq!(found.len(), 3);
    }
}

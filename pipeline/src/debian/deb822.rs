//! Paragraphs of fields, the form of most of Debian's files (deb822(5)).

use std::collections::HashMap;

/// A paragraph: fields by their lower-case names.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Paragraph<'a> {
    fields: HashMap<String, Vec<&'a str>>,
}

impl<'a> Paragraph<'a> {
    /// A field of one line.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        match self.fields.get(name)?.as_slice() {
            [line] => Some(line),
            _ => None,
        }
    }

    /// The lines of a field, the first one being what stands behind the colon.
    pub fn lines(&self, name: &str) -> &[&'a str] {
        self.fields.get(name).map_or(&[], Vec::as_slice)
    }

    /// All words of a field.
    pub fn words(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.lines(name).iter().flat_map(|line| line.split_ascii_whitespace())
    }
}

/// A line that is neither a field nor the continuation of one, or a field that is there twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Deb822Error {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Takes a text apart into paragraphs, handing each one over as it is complete.
pub fn for_each_paragraph<'a>(text: &'a str, mut take: impl FnMut(Paragraph<'a>)) -> Result<(), Deb822Error> {
    let mut paragraph = Paragraph::default();
    let mut last: Option<String> = None;
    for (index, line) in text.lines().enumerate() {
        let error = |reason| Deb822Error { line: index + 1, reason };
        if line.trim_ascii().is_empty() {
            if !paragraph.fields.is_empty() {
                take(std::mem::take(&mut paragraph));
            }
            last = None;
        } else if line.starts_with('#') {
        } else if line.starts_with([' ', '\t']) {
            let field = last.as_ref().and_then(|name| paragraph.fields.get_mut(name));
            field.ok_or_else(|| error("continues no field"))?.push(line.trim_ascii());
        } else {
            let (name, value) = line.split_once(':').ok_or_else(|| error("has no colon"))?;
            let name = name.to_ascii_lowercase();
            if name.is_empty() || !name.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) {
                return Err(error("has no field name"));
            }
            if paragraph.fields.insert(name.clone(), vec![value.trim_ascii()]).is_some() {
                return Err(error("gives a field a second time"));
            }
            last = Some(name);
        }
    }
    if !paragraph.fields.is_empty() {
        take(paragraph);
    }
    Ok(())
}

/// All paragraphs of a text.
pub fn paragraphs(text: &str) -> Result<Vec<Paragraph<'_>>, Deb822Error> {
    let mut all = Vec::new();
    for_each_paragraph(text, |paragraph| all.push(paragraph))?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_paragraphs() {
        let text = "# remark\nPackage: a\nDepends: b,\n c\n\nPackage:d\nEmpty:\n x y\n  z\n\n\n";
        let all = paragraphs(text).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].get("package"), Some("a"));
        assert_eq!(all[0].lines("depends"), ["b,", "c"]);
        assert_eq!(all[0].get("depends"), None, "more than one line");
        assert_eq!(all[1].get("package"), Some("d"));
        assert_eq!(all[1].words("empty").collect::<Vec<_>>(), ["x", "y", "z"]);
    }

    #[test]
    fn what_is_refused() {
        for bad in [" x\n", "A: 1\nA: 2\n", "A: 1\na: 2\n", "words\n", ": 1\n", "A: 1\n\n x\n", "a b: 1\n"] {
            assert!(paragraphs(bad).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "([A-Za-z: #\t\n-]|\\PC){0,200}") {
            let _ = paragraphs(&text);
        }
    }
}

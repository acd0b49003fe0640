//! Words as a shell reads them: quotes, variables, and where one statement ends.

use std::collections::BTreeMap;

/// The variables of an environment.
pub(super) type Variables = BTreeMap<String, String>;

/// The statements of a script, each with its words. They end at line breaks, `;`, `&&` and `||`, which are taken alike.
pub(super) fn statements(script: &str, variables: &Variables) -> Vec<Vec<String>> {
    let mut reader = Reader { variables, statements: vec![Vec::new()], word: None };
    let mut letters = script.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => letters.by_ref().take_while(|letter| *letter != '\'').for_each(|letter| reader.push(letter)),
            '"' => reader.quoted(&mut letters),
            '\\' => letters.next().into_iter().for_each(|letter| reader.push(letter)),
            '$' => reader.variable(&mut letters),
            '\n' | ';' | '&' | '|' => reader.end_statement(),
            '#' if reader.word.is_none() => drop(letters.by_ref().take_while(|letter| *letter != '\n').count()),
            ' ' | '\t' => reader.end_word(),
            _ => reader.push(letter),
        }
        // A pair of quotes is a word though nothing is between them.
        if matches!(letter, '\'' | '"') {
            reader.word.get_or_insert_default();
        }
    }
    reader.end_statement();
    reader.statements.retain(|words| !words.is_empty());
    reader.statements
}

type Letters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

struct Reader<'a> {
    variables: &'a Variables,
    statements: Vec<Vec<String>>,
    /// The word that is being read.
    word: Option<String>,
}

impl Reader<'_> {
    fn push(&mut self, letter: char) {
        self.word.get_or_insert_default().push(letter);
    }

    fn end_word(&mut self) {
        if let (Some(word), Some(words)) = (self.word.take(), self.statements.last_mut()) {
            words.push(word);
        }
    }

    fn end_statement(&mut self) {
        self.end_word();
        self.statements.push(Vec::new());
    }

    /// Reads up to the closing quote.
    fn quoted(&mut self, letters: &mut Letters) {
        while let Some(letter) = letters.next() {
            match letter {
                '"' => return,
                '\\' => letters.next().into_iter().for_each(|letter| self.push(letter)),
                '$' => self.variable(letters),
                _ => self.push(letter),
            }
        }
    }

    /// Reads what comes after a dollar. What names no variable stays as it is.
    fn variable(&mut self, letters: &mut Letters) {
        let braces = letters.next_if_eq(&'{').is_some();
        let mut name = String::new();
        while let Some(letter) = letters.next_if(|letter| letter.is_ascii_alphanumeric() || *letter == '_') {
            name.push(letter);
        }
        if braces {
            letters.next_if_eq(&'}');
        }
        if name.is_empty() {
            return self.push('$');
        }
        let value = self.variables.get(&name).map_or("", String::as_str);
        self.word.get_or_insert_default().push_str(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_a_shell_reads_them() {
        let variables = [("A".to_owned(), "x y".to_owned())].into();
        let read = |script: &str| statements(script, &variables);
        assert_eq!(read("a 'b c' \"d $A\" '' e\\ f"), [vec!["a", "b c", "d x y", "", "e f"]]);
        assert_eq!(
            read("'it'\\''s'; kill -9 $$\n# no\ntrue && ${A}z"),
            [vec!["it's"], vec!["kill", "-9", "$$"], vec!["true"], vec!["x yz"]]
        );
        assert_eq!(read("'$A' \"a'b\""), [vec!["$A", "a'b"]]);
    }
}

//! The parser of thresholds.

use std::fmt;

use super::{Condition, FailOn, Measure, Operator, Scope};
use crate::metric::{METRICS, Metric, Unit};
use crate::schema::Category;

/// Why a text is not a list of thresholds: the position, what was found, and what is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The text.
    pub text: String,
    /// Index of the character at which parsing failed, from 0.
    pub position: usize,
    /// What is wrong, and what is valid.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = crate::escape::terminal(&self.text);
        writeln!(f, "character {}: {}", self.position + 1, self.message)?;
        writeln!(f, "  {line}")?;
        write!(f, "  {:>width$}", "^", width = self.position + 1)
    }
}

impl std::error::Error for ParseError {}

/// Parses a list of thresholds.
///
/// # Errors
/// [`ParseError`], if the text is invalid.
pub fn parse(text: &str) -> Result<FailOn, ParseError> {
    let mut reader = Reader { text: text.chars().collect(), at: 0 };
    let mut conditions = Vec::new();
    // Each round consumes at least one character or ends.
    loop {
        conditions.push(reader.condition()?);
        reader.skip_spaces();
        match reader.peek() {
            None => return Ok(FailOn { conditions }),
            Some(',') => reader.at += 1,
            Some(_) => return Err(reader.error("expected a comma or the end")),
        }
    }
}

struct Reader {
    text: Vec<char>,
    at: usize,
}

impl Reader {
    fn condition(&mut self) -> Result<Condition, ParseError> {
        self.skip_spaces();
        let (scope, measure) = self.subject()?;
        let operator = self.operator()?;
        let bound = self.bound(measure.unit())?;
        Ok(Condition { scope, measure, operator, bound })
    }

    fn subject(&mut self) -> Result<(Scope, Measure), ParseError> {
        let start = self.at;
        if let Some(quote @ ('"' | '\'')) = self.peek() {
            let name = self.quoted(quote)?;
            return self.scoped(Scope::Scenario(name));
        }
        let word = self.word();
        self.skip_spaces();
        if self.peek() != Some('.') {
            return Ok((Scope::Everything, self.measure(&word, start)?));
        }
        match Category::ALL.into_iter().find(|category| category.text() == word) {
            Some(category) => self.scoped(Scope::Category(category)),
            None => Err(self.error_at(
                start,
                "expected performance, connection, reliability, or a scenario's name in quotes before the dot",
            )),
        }
    }

    fn scoped(&mut self, scope: Scope) -> Result<(Scope, Measure), ParseError> {
        self.skip_spaces();
        if self.peek() != Some('.') {
            return Err(self.error("expected a dot and a metric after the scope"));
        }
        self.at += 1;
        self.skip_spaces();
        let start = self.at;
        let word = self.word();
        match self.measure(&word, start)? {
            Measure::Score => Err(self.error_at(start, "score covers the whole run and takes no scope")),
            measure => Ok((scope, measure)),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, ParseError> {
        let start = self.at;
        self.at += 1;
        let rest = &self.text[self.at..];
        let Some(length) = rest.iter().position(|c| *c == quote) else {
            return Err(self.error_at(start, "this quote is never closed"));
        };
        let name = rest[..length].iter().collect();
        self.at += length + 1;
        Ok(name)
    }

    fn word(&mut self) -> String {
        let is_part = |c: &&char| c.is_ascii_alphanumeric() || **c == '_';
        let word: String = self.text[self.at..].iter().take_while(is_part).collect();
        // Only ASCII is accepted, so bytes are characters.
        self.at += word.len();
        word
    }

    fn measure(&self, word: &str, start: usize) -> Result<Measure, ParseError> {
        if word == "score" {
            return Ok(Measure::Score);
        }
        Metric::named(word).map(Measure::Metric).ok_or_else(|| {
            let names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
            let found = if word.is_empty() {
                "a metric is missing".to_owned()
            } else {
                format!("there is no metric {word:?}")
            };
            self.error_at(start, &format!("{found}; known metrics: {}, score", names.join(", ")))
        })
    }

    fn operator(&mut self) -> Result<Operator, ParseError> {
        self.skip_spaces();
        let next = (self.peek(), self.text.get(self.at + 1).copied());
        let (operator, length) = match next {
            (Some('>'), Some('=')) => (Operator::AtLeast, 2),
            (Some('<'), Some('=')) => (Operator::AtMost, 2),
            (Some('='), Some('=')) => (Operator::Equal, 2),
            (Some('!'), Some('=')) => (Operator::Unequal, 2),
            (Some('>'), _) => (Operator::Above, 1),
            (Some('<'), _) => (Operator::Below, 1),
            (Some('='), _) => (Operator::Equal, 1),
            _ => return Err(self.error("expected one of > >= < <= = !=")),
        };
        self.at += length;
        Ok(operator)
    }

    fn bound(&mut self, unit: Unit) -> Result<f64, ParseError> {
        self.skip_spaces();
        let start = self.at;
        let is_part = |c: &&char| c.is_ascii_digit() || matches!(**c, '.' | '-' | '+');
        let digits: String = self.text[start..].iter().take_while(is_part).collect();
        self.at += digits.len();
        let number: Option<f64> = digits.parse().ok().filter(|number: &f64| number.is_finite());
        let Some(number) = number else {
            return Err(self.error_at(start, "expected a number, such as 50 or 0.5"));
        };
        self.skip_spaces();
        let start = self.at;
        let is_unit = |c: &&char| c.is_alphabetic() || matches!(**c, '%' | '/');
        let word: String = self.text[start..].iter().take_while(is_unit).collect();
        self.at += word.chars().count();
        match units(unit).iter().find(|(name, _)| *name == word) {
            Some((_, factor)) => Ok(number * factor),
            None => {
                let names: Vec<&str> =
                    units(unit).iter().map(|(name, _)| *name).filter(|name| !name.is_empty()).collect();
                let names = if names.is_empty() {
                    "this metric has no unit".to_owned()
                } else {
                    format!("known units: {}", names.join(", "))
                };
                Err(self.error_at(start, &format!("{word:?} is not a unit of this metric; {names}")))
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        self.at += self.text[self.at..].iter().take_while(|c| c.is_whitespace()).count();
    }

    fn error(&self, message: &str) -> ParseError {
        self.error_at(self.at, message)
    }

    fn error_at(&self, position: usize, message: &str) -> ParseError {
        ParseError { text: self.text.iter().collect(), position, message: message.to_owned() }
    }
}

/// The units that a threshold may have, each with its factor; the empty one is the metric's own.
const fn units(unit: Unit) -> &'static [(&'static str, f64)] {
    match unit {
        Unit::Count | Unit::Points => &[("", 1.0)],
        Unit::Millis => &[("", 1.0), ("us", 1e-3), ("µs", 1e-3), ("ms", 1.0), ("s", 1e3)],
        Unit::Micros => &[("", 1.0), ("us", 1.0), ("µs", 1.0), ("ms", 1e3)],
        Unit::Share | Unit::Cores => &[("", 1.0), ("%", 0.01)],
        Unit::PerSecond => &[("", 1.0), ("/s", 1.0)],
        Unit::Megabytes => &[("", 1.0), ("KB", 1e-3), ("MB", 1.0), ("GB", 1e3)],
    }
}

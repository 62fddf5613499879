//! The query of a request, checked field by field.

use std::ops::RangeInclusive;

use agentbench_protocol::Refusal;

use super::answer::Answer;

/// Names and values, decoded. Of a name that is given twice the first counts.
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn parse(text: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(text.unwrap_or("").as_bytes());
        Self { pairs: pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A whole number in the range, or nothing.
    pub(crate) fn number(&self, name: &'static str, range: RangeInclusive<u64>) -> Answer<Option<u64>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| {
            let detail = format!("{name} must be a whole number from {} to {}", range.start(), range.end());
            Refusal::invalid(name, detail).into()
        })
    }

    /// One of the words of `parse`, or nothing.
    pub(crate) fn word<T>(
        &self,
        name: &'static str,
        words: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Answer<Option<T>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let refusal = || Refusal::invalid(name, format!("{name} must be one of {words}"));
        parse(text).map(Some).ok_or_else(|| refusal().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_and_in_range() {
        let query = Query::parse(Some("a=5&b=&c=-1&d=1e3&e=%2B7&f=99999999999999999999&g=11&a=6"));
        assert_eq!(query.number("a", 1..=10).unwrap(), Some(5));
        assert_eq!(query.number("none", 1..=10).unwrap(), None);
        for name in ["b", "c", "d", "e", "f", "g"] {
            let refused = query.number(name, 1..=10).unwrap_err();
            assert_eq!(refused.refusal.field.as_deref(), Some(name));
        }
    }
}

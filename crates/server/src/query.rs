//! The query of a request, checked field by field.

use std::ops::RangeInclusive;

use agentbench_protocol::Refusal;

/// Names and values, decoded. Of a name that is given twice the first counts.
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads names and values.
    ///
    /// # Errors
    /// Names the first parameter that is not UTF-8 after percent-decoding.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        let text = text.unwrap_or("");
        let pairs: Vec<_> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
        let written = text.split('&').filter(|part| !part.is_empty());
        if let Some(((name, _), _)) = pairs.iter().zip(written).find(|(_, part)| !is_text(part)) {
            // Only a name that could be one of the API's is echoed.
            let plain = name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let name = if plain { name } else { "query" };
            let detail = format!("{name} in the address is not UTF-8 text; percent-encode its UTF-8 bytes");
            return Err(Refusal::invalid(name, detail));
        }
        Ok(Self { pairs })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A whole number in the range, or nothing.
    pub(crate) fn number(
        &self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| {
            let detail = format!("{name} must be a whole number from {} to {}", range.start(), range.end());
            Refusal::invalid(name, detail)
        })
    }

    /// Whether a switch is on: `1` or `0`, off if it is not named.
    pub(crate) fn switch(&self, name: &'static str) -> Result<bool, Refusal> {
        let parse = |text: &str| match text {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        };
        Ok(self.word(name, "0, 1", parse)?.unwrap_or(false))
    }

    /// One of the words of `parse`, or nothing.
    pub(crate) fn word<T>(
        &self,
        name: &'static str,
        words: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let refusal = || Refusal::invalid(name, format!("{name} must be one of {words}"));
        parse(text).map(Some).ok_or_else(refusal)
    }
}

/// Whether a part of a query is UTF-8 after percent-decoding (URL standard, "percent-decode").
fn is_text(part: &str) -> bool {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let (mut bytes, mut rest) = (Vec::with_capacity(part.len()), part.as_bytes());
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [high, low, ..] if *first == b'%' => digit(high).zip(digit(low)),
            _ => None,
        };
        bytes.push(escaped.map_or(*first, |(high, low)| high << 4 | low));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    std::str::from_utf8(&bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_and_in_range() {
        let query = Query::parse(Some("a=5&b=&c=-1&d=1e3&e=%2B7&f=99999999999999999999&g=11&a=6")).unwrap();
        assert_eq!(query.number("a", 1..=10).unwrap(), Some(5));
        assert_eq!(query.number("none", 1..=10).unwrap(), None);
        for name in ["b", "c", "d", "e", "f", "g"] {
            let refused = query.number(name, 1..=10).unwrap_err();
            assert_eq!(refused.field.as_deref(), Some(name));
        }
    }

    #[test]
    fn what_is_not_utf_8_behind_its_encoding_is_refused_by_name() {
        for (text, field) in [
            ("a=1&producerId=M%FCller", "producerId"),
            ("lastEventId=x:1:gr%F6%DFe", "lastEventId"),
            ("&&q=%ED%A0%80&z", "q"),
            ("token=%C3", "token"),
            ("a%FF=1", "query"),
        ] {
            let refused = Query::parse(Some(text)).err().unwrap();
            assert_eq!(refused.field.as_deref(), Some(field), "{text}");
        }
        let fine = "producerId=M%C3%BCller&q=%F0%9F%98%80&n=100%&m=%zz&p=a+b&f=%EF%BF%BD&%";
        let query = Query::parse(Some(fine)).unwrap();
        assert_eq!(query.get("producerId"), Some("Müller"));
        assert_eq!(
            (query.get("m"), query.get("p"), query.get("f")),
            (Some("%zz"), Some("a b"), Some("\u{fffd}"))
        );
    }
}

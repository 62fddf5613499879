//! Figures as bytes, in the form that whoever asks understands best: Prometheus text, OpenMetrics text, or Prometheus
//! protobuf, which alone has native histograms.

mod protobuf;
mod text;

use super::registry::Figure;

/// A form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus text, version 0.0.4.
    Text,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
    /// Prometheus protobuf, delimited.
    Protobuf,
}

impl Format {
    /// The form that an `Accept` header (RFC 9110 §12.5.1) wants most. Without a header, and for whoever takes anything, it
    /// is text; of two that are wanted as much, the first that is named.
    pub(crate) fn accepted(header: &str) -> Self {
        let mut best = (0.0, Self::Text);
        for range in header.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or("").to_ascii_lowercase();
            let parameters: Vec<(String, &str)> = parts
                .filter_map(|part| part.split_once('='))
                .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"')))
                .collect();
            let get =
                |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
            let format = match kind.as_str() {
                "application/vnd.google.protobuf"
                    if get("proto").is_none_or(|it| it == "io.prometheus.client.MetricFamily")
                        && get("encoding").is_none_or(|it| it == "delimited") =>
                {
                    Self::Protobuf
                }
                "application/openmetrics-text" if get("version").is_none_or(|it| it.starts_with("1.")) => {
                    Self::OpenMetrics
                }
                // OpenMetrics of an age that nobody writes any more, as old Prometheus servers ask for it beside 1.0.0.
                "text/plain" | "text/*" | "*/*" => Self::Text,
                _ => continue,
            };
            let weight = get("q").map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            if weight > best.0 {
                best = (weight, format);
            }
        }
        best.1
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    pub(crate) fn write(self, figures: &[Figure]) -> Vec<u8> {
        match self {
            Self::Text => text::prometheus(figures).into_bytes(),
            Self::OpenMetrics => text::open_metrics(figures).into_bytes(),
            Self::Protobuf => protobuf::delimited(figures),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_gets_what_they_understand() {
        let prometheus = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
            application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let cases = [
            (prometheus, Format::Protobuf),
            (
                "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text; version=0.0.1,text/plain;q=0.5", Format::Text),
            ("text/html, application/openmetrics-text;q=0.2", Format::OpenMetrics),
            ("application/vnd.google.protobuf;encoding=text", Format::Text),
            ("application/vnd.google.protobuf;q=0, */*;q=0.1", Format::Text),
            ("*/*", Format::Text),
            ("", Format::Text),
            (";;=,q=x,,", Format::Text),
        ];
        for (header, expected) in cases {
            assert_eq!(Format::accepted(header), expected, "{header}");
        }
    }
}

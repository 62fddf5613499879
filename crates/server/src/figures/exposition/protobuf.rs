//! Prometheus protobuf (`io.prometheus.client.MetricFamily` of client_model's metrics.proto), each family after its length.
//! Histograms have their native buckets, and the classic ones for whoever does not know them.
//!
//! Written by hand: it is five messages of plain fields, and a generator would be a dependency and a build step.

use crate::figures::histogram::{SCHEMA, Snapshot};
use crate::figures::registry::{Exemplar, Figure, Kind, Sample, Value};

pub(super) fn delimited(figures: &[Figure]) -> Vec<u8> {
    let mut all = Vec::new();
    // Readers take a family without a metric for an error.
    for figure in figures.iter().filter(|figure| !figure.samples.is_empty()) {
        let family = family(figure);
        varint(&mut all, family.0.len() as u64);
        all.extend_from_slice(&family.0);
    }
    all
}

/// The fields of one message.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u32, wire_type: u32) {
        varint(&mut self.0, u64::from(field << 3 | wire_type));
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) -> &mut Self {
        self.key(field, 2);
        varint(&mut self.0, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(&mut self, field: u32, text: &str) -> &mut Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(&mut self, field: u32, message: &Self) -> &mut Self {
        self.bytes(field, &message.0)
    }

    fn number(&mut self, field: u32, number: u64) -> &mut Self {
        self.key(field, 0);
        varint(&mut self.0, number);
        self
    }

    /// `sint32` and `sint64`.
    fn signed(&mut self, field: u32, number: i64) -> &mut Self {
        self.number(field, ((number << 1) ^ (number >> 63)) as u64)
    }

    fn double(&mut self, field: u32, number: f64) -> &mut Self {
        self.key(field, 1);
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }
}

fn varint(dst: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        dst.push(number as u8 | 0x80);
        number >>= 7;
    }
    dst.push(number as u8);
}

fn family(figure: &Figure) -> Message {
    let (name, kind) = match figure.kind {
        Kind::Counter => (format!("{}_total", figure.name), 0),
        Kind::Gauge => (figure.name.clone(), 1),
        Kind::Histogram => (figure.name.clone(), 4),
    };
    let mut family = Message::default();
    family.text(1, &name).text(2, figure.help).number(3, kind);
    for sample in &figure.samples {
        family.message(4, &metric(figure.kind, sample));
    }
    if let Some(unit) = figure.unit {
        family.text(5, unit);
    }
    family
}

fn metric(kind: Kind, sample: &Sample) -> Message {
    let mut metric = Message::default();
    for (name, value) in &sample.labels {
        metric.message(1, &label(name, value));
    }
    match &sample.value {
        Value::Number(value) => {
            let mut number = Message::default();
            number.double(1, *value);
            metric.message(if kind == Kind::Counter { 3 } else { 2 }, &number);
        }
        Value::Histogram(all, exemplars) => {
            metric.message(7, &histogram(all, exemplars));
        }
    }
    metric
}

fn label(name: &str, value: &str) -> Message {
    let mut label = Message::default();
    label.text(1, name).text(2, value);
    label
}

fn histogram(all: &Snapshot, exemplars: &[Exemplar]) -> Message {
    let mut histogram = Message::default();
    histogram.number(1, all.count()).double(2, all.sum);
    let mut below = f64::NEG_INFINITY;
    for (bound, count) in all.classic() {
        let mut bucket = Message::default();
        bucket.number(1, count).double(2, bound);
        if let Some(found) = exemplars.iter().find(|it| it.value > below && it.value <= bound) {
            bucket.message(3, &exemplar(found));
        }
        histogram.message(3, &bucket);
        below = bound;
    }
    histogram.signed(5, i64::from(SCHEMA)).double(6, all.zero_threshold()).number(7, all.zero());
    let (spans, deltas) = all.native();
    for span in &spans {
        let mut written = Message::default();
        written.signed(1, i64::from(span.offset)).number(2, u64::from(span.length));
        histogram.message(12, &written);
    }
    if spans.is_empty() {
        // A native histogram without any value is known by an empty span.
        histogram.message(12, Message::default().signed(1, 0).number(2, 0));
    }
    for delta in deltas {
        histogram.signed(13, delta);
    }
    histogram
}

fn exemplar(exemplar: &Exemplar) -> Message {
    let mut time = Message::default();
    time.number(1, exemplar.at / 1_000).number(2, exemplar.at % 1_000 * 1_000_000);
    let mut written = Message::default();
    written.message(1, &label("trace_id", &exemplar.trace)).double(2, exemplar.value).message(3, &time);
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::histogram::{COUNT, Cells};

    /// A field as any reader of protobuf finds it.
    #[derive(Debug, Clone, PartialEq)]
    enum Field {
        Number(u64),
        Double(f64),
        Bytes(Vec<u8>),
    }

    impl Field {
        fn signed(&self) -> i64 {
            let Self::Number(number) = self else { panic!("{self:?} is no number") };
            (number >> 1) as i64 ^ -((number & 1) as i64)
        }

        fn message(&self) -> Vec<(u32, Field)> {
            let Self::Bytes(bytes) = self else { panic!("{self:?} is no message") };
            read(bytes)
        }
    }

    fn take_varint(bytes: &mut &[u8]) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (byte, rest) = bytes.split_first().expect("a whole number");
            *bytes = rest;
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return number;
            }
        }
    }

    fn read(mut bytes: &[u8]) -> Vec<(u32, Field)> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = take_varint(&mut bytes);
            let field = match key & 7 {
                0 => Field::Number(take_varint(&mut bytes)),
                1 => {
                    let (double, rest) = bytes.split_at(8);
                    bytes = rest;
                    Field::Double(f64::from_le_bytes(double.try_into().unwrap()))
                }
                2 => {
                    let length = take_varint(&mut bytes) as usize;
                    let (content, rest) = bytes.split_at(length);
                    bytes = rest;
                    Field::Bytes(content.to_vec())
                }
                other => panic!("wire type {other}"),
            };
            fields.push(((key >> 3) as u32, field));
        }
        fields
    }

    fn all(fields: &[(u32, Field)], number: u32) -> Vec<Field> {
        fields.iter().filter(|(at, _)| *at == number).map(|(_, field)| field.clone()).collect()
    }

    #[test]
    fn a_reader_finds_the_native_buckets() {
        let cells = Cells::new(&COUNT);
        [0.0, 1.0, 1.0, 1.05, 64.0].iter().for_each(|value| cells.add(*value, 1));
        let counted = Snapshot::of(&COUNT, std::iter::once(&cells));
        let exemplar = Exemplar { trace: "ab".into(), value: 64.0, at: 1_500 };
        let figures = [
            Figure::gauges("nobody", "h", None, std::iter::empty()),
            Figure::counter("received", "Bytes", Some("bytes"), 7.0),
            Figure::histogram("width", "Readers", None, counted, vec![exemplar]),
        ];
        let bytes = delimited(&figures);
        let mut rest = &bytes[..];
        let mut families = Vec::new();
        while !rest.is_empty() {
            let length = take_varint(&mut rest) as usize;
            let (family, after) = rest.split_at(length);
            families.push(read(family));
            rest = after;
        }
        let [counter, histogram] = &families[..] else { panic!("{families:?}") };
        assert_eq!(all(counter, 1), [Field::Bytes(b"agentbench_received_bytes_total".to_vec())]);
        assert_eq!(all(counter, 3), [Field::Number(0)]);
        let metric = all(counter, 4)[0].message();
        assert_eq!(all(&metric, 3)[0].message(), [(1, Field::Double(7.0))]);

        assert_eq!(all(histogram, 3), [Field::Number(4)]);
        let metric = all(histogram, 4)[0].message();
        let fields = all(&metric, 7)[0].message();
        assert_eq!((all(&fields, 1), all(&fields, 2)), (vec![Field::Number(5)], vec![Field::Double(67.05)]));
        assert_eq!(all(&fields, 5)[0].signed(), 3, "the schema");
        assert_eq!((all(&fields, 6), all(&fields, 7)), (vec![Field::Double(0.5)], vec![Field::Number(1)]));
        let spans: Vec<_> = all(&fields, 12).iter().map(Field::message).collect();
        let spans: Vec<_> = spans.iter().map(|span| (span[0].1.signed(), span[1].1.clone())).collect();
        assert_eq!(spans, [(0, Field::Number(2)), (46, Field::Number(1))]);
        let deltas: Vec<_> = all(&fields, 13).iter().map(Field::signed).collect();
        assert_eq!(deltas, [2, -1, 0]);
        let buckets: Vec<_> = all(&fields, 3).iter().map(Field::message).collect();
        let of_64 = buckets.iter().find(|bucket| bucket[1].1 == Field::Double(64.0)).unwrap();
        assert_eq!(of_64[0].1, Field::Number(5));
        let exemplar = all(of_64, 3)[0].message();
        assert_eq!(all(&exemplar, 2), [Field::Double(64.0)]);
        assert_eq!(all(&exemplar, 3)[0].message(), [(1, Field::Number(1)), (2, Field::Number(500_000_000))]);
    }
}

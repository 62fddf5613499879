//! A flame graph as SVG: a box for each function under its callers, as wide as its share of the samples. It has no script;
//! names are in the boxes' titles, which viewers show as tooltips. Light or dark by the viewer's preference.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::folded::Folded;

const WIDTH: f64 = 1200.0;
const ROW: usize = 18;
const TOP: usize = 44;
const MARGIN: f64 = 10.0;
/// Approximate width of a letter; longer names are truncated.
const LETTER: f64 = 6.6;
/// Narrower boxes are omitted with everything above them, since they would be invisible.
const MIN_WIDTH: f64 = 0.4;

const STYLE: &str = "\
svg{color-scheme:light dark;background:#fff;color:#222;font:11px monospace}\
rect{stroke:#fff;stroke-width:.5}text{fill:#111;pointer-events:none}.head{fill:#222;font-size:14px}\
g:hover rect{stroke:#000;stroke-width:1}\
.h0{fill:#f6b26b}.h1{fill:#f9cb9c}.h2{fill:#ffd966}.h3{fill:#ffe599}.h4{fill:#ea9999}.h5{fill:#e6a57e}\
@media(prefers-color-scheme:dark){svg{background:#16181d;color:#ddd}.head{fill:#ddd}rect{stroke:#16181d}\
text{fill:#f4f4f4}g:hover rect{stroke:#fff}\
.h0{fill:#8a5a1f}.h1{fill:#7a4f2a}.h2{fill:#7d6a15}.h3{fill:#6d6020}.h4{fill:#803a3a}.h5{fill:#7a4634}}";

/// A function under one caller.
#[derive(Default)]
struct Node<'a> {
    count: u64,
    callees: BTreeMap<&'a str, Node<'a>>,
}

/// Draws the graph, with the title above it.
pub(crate) fn draw(folded: &Folded, title: &str) -> String {
    let mut root = Node::default();
    let mut deepest = 0;
    for (stack, count) in folded.iter() {
        root.count += count;
        deepest = deepest.max(stack.len());
        let mut node = &mut root;
        for name in stack {
            node = node.callees.entry(name).or_default();
            node.count += count;
        }
    }
    let height = TOP + (deepest + 1) * ROW + 10;
    let mut svg = String::new();
    put(
        &mut svg,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"{title}\"><style>{STYLE}</style><text class=\"head\" x=\"{MARGIN}\" y=\"26\">{title}</text>",
            title = escape(title)
        ),
    );
    let mut drawing = Drawing { svg, total: root.count.max(1), height };
    drawing.node("all", &root, MARGIN, 0);
    drawing.svg.push_str("</svg>\n");
    drawing.svg
}

struct Drawing {
    svg: String,
    total: u64,
    height: usize,
}

impl Drawing {
    /// As deep as the deepest stack, which is bounded where stacks are taken.
    fn node(&mut self, name: &str, node: &Node<'_>, x: f64, depth: usize) {
        let share = node.count as f64 / self.total as f64;
        let width = share * (WIDTH - 2.0 * MARGIN);
        if width < MIN_WIDTH {
            return;
        }
        let y = self.height - 10 - (depth + 1) * ROW;
        let hue = name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 6;
        put(
            &mut self.svg,
            format_args!(
                "<g><title>{} ({} samples, {:.2} %)</title><rect class=\"h{hue}\" x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" rx=\"1\"/>",
                escape(name),
                node.count,
                share * 100.0,
                ROW - 1
            ),
        );
        let letters = ((width - 4.0) / LETTER) as usize;
        if letters >= 3 {
            let shown = escape(&shorten(&brief(name), letters));
            put(
                &mut self.svg,
                format_args!("<text x=\"{:.1}\" y=\"{}\">{shown}</text>", x + 2.0, y + ROW - 6),
            );
        }
        self.svg.push_str("</g>");
        let mut left = x;
        for (callee, below) in &node.callees {
            self.node(callee, below, left, depth + 1);
            left += below.count as f64 / self.total as f64 * (WIDTH - 2.0 * MARGIN);
        }
    }
}

fn put(svg: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = svg.write_fmt(text);
}

/// A function's name without what generic code adds to it, and with its type or module: `<a::B<C> as d::E>::f` is `B::f`.
fn brief(name: &str) -> String {
    let (mut plain, mut depth, mut before) = (String::new(), 0_usize, ' ');
    // In a name that begins with `<`, the type inside is part of the name.
    let own = usize::from(name.starts_with('<'));
    let mut is_trait = false;
    for (at, char) in name.char_indices() {
        match char {
            '<' => depth += 1,
            '>' if before != '-' => {
                depth = depth.saturating_sub(1);
                is_trait &= depth > 0;
            }
            ' ' if depth == own && name[at..].starts_with(" as ") => is_trait = true,
            _ if depth == 0 || (depth == own && plain_so_far(name, at) && !is_trait) => plain.push(char),
            _ => {}
        }
        before = char;
    }
    let parts: Vec<&str> = plain.split("::").filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [] => name.to_owned(),
        [.., module, function] => format!("{module}::{function}"),
        [function] => (*function).to_owned(),
    }
}

/// Whether nothing but the name's first bracket has been opened on this level.
fn plain_so_far(name: &str, at: usize) -> bool {
    let mut depth = 0_usize;
    for (place, char) in name[..at].char_indices() {
        match char {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && place > 0 {
            return false;
        }
    }
    true
}

/// The end of a name tells more than its beginning.
fn shorten(name: &str, letters: usize) -> String {
    let count = name.chars().count();
    if count <= letters {
        return name.to_owned();
    }
    let end: String = name.chars().skip(count - (letters - 1)).collect();
    format!("…{end}")
}

/// Escapes text for XML elements and attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML cannot represent most of them (XML 1.0 §2.2).
            char if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => escaped.push('?'),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(stacks: &[(&[&str], u64)]) -> Folded {
        let mut folded = Folded::default();
        for (stack, count) in stacks {
            folded.add(stack.iter().map(|name| (*name).to_owned()).collect(), *count);
        }
        folded
    }

    #[test]
    fn boxes_are_as_wide_as_their_share() {
        let svg = draw(&folded(&[(&["worker", "read"], 75), (&["worker", "write"], 25)]), "p");
        let document = roxmltree::Document::parse(&svg).unwrap();
        let width = |name: &str| {
            let title =
                document.descendants().find(|node| node.text().is_some_and(|text| text.starts_with(name)));
            let group = title.unwrap().parent().unwrap();
            let rect = group.children().find(|node| node.has_tag_name("rect")).unwrap();
            rect.attribute("width").unwrap().parse::<f64>().unwrap()
        };
        assert_eq!(
            (width("all "), width("worker "), width("read "), width("write ")),
            (1180.0, 1180.0, 885.0, 295.0)
        );
    }

    #[test]
    fn boxes_have_brief_names() {
        for (name, expected) in [
            ("read", "read"),
            ("tokio::net::tcp::read", "tcp::read"),
            ("<hyper::h1::Server as hyper::h1::Http1>::parse", "Server::parse"),
            ("<core::pin::Pin<P> as core::future::Future>::poll", "Pin::poll"),
            ("core::ptr::drop_in_place::<alloc::vec::Vec<u8>>", "ptr::drop_in_place"),
            ("<F as core::ops::FnOnce<() -> A<B>>>::call_once", "F::call_once"),
            ("{closure#1}<a::B>", "{closure#1}"),
            ("<<>>", "<<>>"),
            ("", ""),
        ] {
            assert_eq!(brief(name), expected);
        }
    }

    #[test]
    fn names_are_escaped_and_small_boxes_left_out() {
        let hostile = "<script>alert(\"&'\u{1b}\u{ffff}\")</script>";
        let svg = draw(&folded(&[(&[hostile], 1_000_000), (&["tiny"], 1)]), hostile);
        let document = roxmltree::Document::parse(&svg).unwrap();
        assert!(document.descendants().all(|node| !node.has_tag_name("script")));
        assert!(svg.contains("&lt;script&gt;") && !svg.contains("tiny"), "{svg}");
    }

    #[test]
    fn nothing_was_sampled_and_it_is_drawn_all_the_same() {
        assert!(roxmltree::Document::parse(&draw(&Folded::default(), "idle")).is_ok());
    }
}

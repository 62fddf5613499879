//! Escapes text from names, errors and servers for HTML, XML and Markdown.

/// Escapes text for HTML and XML, including quoted attributes. Characters that XML 1.0 does not allow become U+FFFD
/// (section 2.2, Char).
pub(crate) fn markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c if is_invisible(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Escapes text for one line of Markdown, in or out of a table: no markup, links, mentions or line breaks.
pub(crate) fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '@' => out.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() || is_invisible(c) => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Escapes text for a terminal: nothing that moves its cursor or changes the direction of text.
pub(crate) fn terminal(text: &str) -> String {
    let harmless = |c: char| if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c };
    text.chars().map(harmless).collect()
}

/// Characters that change the direction of text.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn markup_is_taken_for_text() {
        assert_eq!(super::markup("<b a='\"'>&\0"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;\u{fffd}");
        assert_eq!(super::markdown("a|b\n@all [x](y) <i>"), "a\\|b &#64;all \\[x\\](y) &lt;i&gt;");
        assert_eq!(super::terminal("\u{1b}[2J\u{202e}"), "\u{fffd}[2J\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_as_text(text in any::<String>()) {
            let xml = format!("<a b=\"{0}\">{0}</a>", super::markup(&text));
            let read = roxmltree::Document::parse(&xml).unwrap();
            prop_assert_eq!(read.root_element().children().filter(|node| node.is_element()).count(), 0);
        }
    }
}

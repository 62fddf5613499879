//! Drawn screenshots: a browser window that shows a page, as a PNG of a few thousand bytes.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::font;

/// Width of every screenshot in dots.
pub(super) const WIDTH: usize = 640;
/// Height of every screenshot in dots.
pub(super) const HEIGHT: usize = 400;

/// The colours, in the order of the palette.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Colour {
    Paper,
    Ink,
    Frame,
    Line,
    Faint,
    Blue,
    Green,
    Red,
    Amber,
    Violet,
}

/// Red, green and blue of each.
const PALETTE: [[u8; 3]; 10] = [
    [255, 255, 255],
    [32, 36, 48],
    [226, 229, 236],
    [190, 196, 208],
    [128, 136, 152],
    [37, 99, 235],
    [22, 150, 92],
    [208, 52, 60],
    [214, 138, 16],
    [124, 70, 214],
];

/// What a page shows.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    pub(super) address: String,
    pub(super) title: String,
    /// Labels, and the text in their fields.
    pub(super) fields: Vec<(String, String)>,
    /// Text of the button.
    pub(super) button: String,
    /// A line under the button, and its colour.
    pub(super) notice: Option<(String, Colour)>,
    pub(super) accent: Colour,
    /// Percentage of the bar at the foot of the page.
    pub(super) percent: usize,
    /// Position of the pointer: the field with this index, or the button after the last one.
    pub(super) pointer: usize,
}

struct Canvas {
    dots: Vec<u8>,
}

impl Canvas {
    fn new() -> Self {
        Self { dots: vec![Colour::Paper as u8; WIDTH * HEIGHT] }
    }

    /// Fills a box, clipped to the picture.
    fn fill(&mut self, (x, y): (usize, usize), (width, height): (usize, usize), colour: Colour) {
        for row in y..(y + height).min(HEIGHT) {
            let (from, to) = (x.min(WIDTH), (x + width).min(WIDTH));
            self.dots[row * WIDTH + from..row * WIDTH + to].fill(colour as u8);
        }
    }

    fn outline(&mut self, (x, y): (usize, usize), (width, height): (usize, usize), colour: Colour) {
        self.fill((x, y), (width, height), colour);
        self.fill((x + 1, y + 1), (width.saturating_sub(2), height.saturating_sub(2)), Colour::Paper);
    }

    /// Text with dots of `size` × `size`.
    fn text(&mut self, (x, y): (usize, usize), size: usize, colour: Colour, text: &str) {
        for (place, character) in text.chars().enumerate() {
            let left = x + place * (font::WIDTH + 1) * size;
            for (row, bits) in font::glyph(character).into_iter().enumerate() {
                for column in (0..font::WIDTH).filter(|column| bits >> (font::WIDTH - 1 - column) & 1 == 1) {
                    self.fill((left + column * size, y + row * size), (size, size), colour);
                }
            }
        }
    }

    /// Draws an arrow with its tip at this point.
    fn pointer(&mut self, (x, y): (usize, usize)) {
        for row in 0..16 {
            let width = if row < 12 { row + 1 } else { 16 - row };
            self.fill((x, y + row), (width, 1), Colour::Ink);
            if (2..11).contains(&row) {
                self.fill((x + 1, y + row), (width - 2, 1), Colour::Paper);
            }
        }
    }
}

impl Screen {
    /// Draws the page as a PNG.
    ///
    /// # Errors
    /// None in practice: it writes to memory.
    pub(super) fn draw(&self) -> io::Result<Vec<u8>> {
        let mut canvas = Canvas::new();
        canvas.fill((0, 0), (WIDTH, 34), Colour::Frame);
        for (place, colour) in [Colour::Red, Colour::Amber, Colour::Green].into_iter().enumerate() {
            canvas.fill((12 + place * 18, 12), (10, 10), colour);
        }
        canvas.outline((76, 7), (540, 20), Colour::Line);
        canvas.text((84, 14), 1, Colour::Faint, &self.address);
        canvas.fill((0, 34), (WIDTH, 52), self.accent);
        canvas.text((28, 50), 3, Colour::Paper, &self.title);
        let mut y = 106;
        for (label, value) in &self.fields {
            canvas.text((28, y), 1, Colour::Faint, label);
            canvas.outline((28, y + 12), (380, 26), Colour::Line);
            canvas.text((38, y + 18), 2, Colour::Ink, value);
            y += 52;
        }
        canvas.fill((28, y + 4), (180, 34), self.accent);
        canvas.text((42, y + 14), 2, Colour::Paper, &self.button);
        if let Some((notice, colour)) = &self.notice {
            // As large as fits the line.
            let size = if notice.chars().count() * 12 < WIDTH - 56 { 2 } else { 1 };
            canvas.text((28, y + 50), size, *colour, notice);
        }
        canvas.fill((0, HEIGHT - 10), (WIDTH, 10), Colour::Frame);
        canvas.fill((0, HEIGHT - 10), (WIDTH * self.percent.min(100) / 100, 10), Colour::Green);
        canvas.fill((470, 106), (142, 160), Colour::Frame);
        for bar in 0..5 {
            let width = 24 + (self.percent * (bar + 3) + 37 * bar) % 100;
            canvas.fill(
                (482, 122 + bar * 28),
                (width, 14),
                if bar % 2 == 0 { self.accent } else { Colour::Line },
            );
        }
        let under = self.pointer.min(self.fields.len());
        canvas.pointer((if under == self.fields.len() { 150 } else { 330 }, 106 + under * 52 + 22));
        png(&canvas.dots)
    }
}

/// A PNG of palette colours (ISO/IEC 15948): header, palette, one deflated block of rows, end.
fn png(dots: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    for row in dots.chunks_exact(WIDTH) {
        // Each row starts with its filter: none.
        encoder.write_all(&[0])?;
        encoder.write_all(row)?;
    }
    let rows = encoder.finish()?;
    let mut header = Vec::from((WIDTH as u32).to_be_bytes());
    header.extend((HEIGHT as u32).to_be_bytes());
    // Eight bits per dot, palette colours, default methods.
    header.extend([8, 3, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, content) in
        [(b"IHDR", header), (b"PLTE", PALETTE.concat()), (b"IDAT", rows), (b"IEND", Vec::new())]
    {
        png.extend((content.len() as u32).to_be_bytes());
        let begin = png.len();
        png.extend(kind);
        png.extend(content);
        let sum = crc32fast::hash(&png[begin..]);
        png.extend(sum.to_be_bytes());
    }
    Ok(png)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn screen(percent: usize) -> Screen {
        Screen {
            address: "https://shop.example/cart".into(),
            title: "Cart".into(),
            fields: vec![("E-mail".into(), "ada@example.org".into()), ("City".into(), "x".repeat(200))],
            button: "Pay".into(),
            notice: Some(("Card declined".into(), Colour::Red)),
            accent: Colour::Blue,
            percent,
            pointer: 9,
        }
    }

    #[test]
    fn a_screenshot_is_a_whole_and_small_png() {
        let png = screen(40).draw().unwrap();
        assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.len() < 20_000, "{}", png.len());
        let (mut at, mut kinds, mut rows) = (8, Vec::new(), Vec::new());
        while at < png.len() {
            let size = u32::from_be_bytes(png[at..at + 4].try_into().unwrap()) as usize;
            let (kind, content) = (&png[at + 4..at + 8], &png[at + 8..at + 8 + size]);
            let sum = u32::from_be_bytes(png[at + 8 + size..at + 12 + size].try_into().unwrap());
            assert_eq!(sum, crc32fast::hash(&png[at + 4..at + 8 + size]));
            kinds.push(String::from_utf8_lossy(kind).into_owned());
            if kind == b"IDAT" {
                flate2::read::ZlibDecoder::new(content).read_to_end(&mut rows).unwrap();
            }
            at += 12 + size;
        }
        assert_eq!(kinds, ["IHDR", "PLTE", "IDAT", "IEND"]);
        assert_eq!(rows.len(), (WIDTH + 1) * HEIGHT);
        assert!(rows.iter().all(|dot| usize::from(*dot) < PALETTE.len()));
        assert!(rows.contains(&(Colour::Red as u8)) && rows.contains(&(Colour::Ink as u8)));
    }

    #[test]
    fn the_same_screen_is_the_same_picture_and_another_is_another() {
        assert_eq!(screen(40).draw().unwrap(), screen(40).draw().unwrap());
        assert_ne!(screen(40).draw().unwrap(), screen(41).draw().unwrap());
    }
}

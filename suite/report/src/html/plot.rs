//! Small plots as SVG: a frame with two axes, lines, marks, and a description for screen readers.
//!
//! Colours are classes of the page's style, so that dark mode and print can change them; each line has its own dash and
//! each mark its own shape, so that nothing depends on colour alone.

use std::fmt::Write;

use crate::escape::markup;

pub mod scale;

use scale::Scale;

/// Width of a plot in its own coordinates; the page scales it.
pub const WIDTH: f64 = 480.0;
/// Height of the part with the axes.
pub const HEIGHT: f64 = 250.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;

/// The area that the lines are drawn in.
pub const AREA: [f64; 4] = [LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM];

/// One line, as points in the axes' units.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its class in the style: `a`, `b` or `c`, with colour and dash.
    pub class: &'static str,
    /// The points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// A plot under construction.
#[derive(Debug)]
pub struct Plot {
    x: Scale,
    y: Scale,
    height: f64,
    body: String,
    legend: Vec<(&'static str, String)>,
}

impl Plot {
    /// A frame with its axes and their names.
    pub fn new(x: Scale, y: Scale, x_name: &str, y_name: &str) -> Self {
        let mut plot = Self { x, y, height: HEIGHT, body: String::new(), legend: Vec::new() };
        plot.axes(x_name, y_name);
        plot
    }

    /// The position of a value on the x axis.
    pub fn x(&self, value: f64) -> f64 {
        self.x.place(value, AREA[0], AREA[2])
    }

    /// The position of a value on the y axis.
    pub fn y(&self, value: f64) -> f64 {
        self.y.place(value, AREA[3], AREA[1])
    }

    /// Adds a line and its entry in the legend.
    pub fn line(&mut self, line: &Line) {
        let mut path = String::new();
        for (index, (x, y)) in line.points.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            // Writing to a string does not fail, here and below.
            let _ = write!(path, "{command}{:.1} {:.1}", self.x(*x), self.y(*y));
        }
        let _ = write!(
            self.body,
            "<path class=\"line {}\" d=\"{path}\"><title>{}</title></path>",
            line.class,
            markup(&line.name)
        );
        self.legend.push((line.class, line.name.clone()));
    }

    /// Adds a dashed horizontal line with its name.
    pub fn level(&mut self, value: f64, name: &str) {
        let (y, [left, _, right, _]) = (self.y(value), AREA);
        let _ = write!(
            self.body,
            "<path class=\"goal\" d=\"M{left} {y:.1}H{right}\"/><text class=\"note\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            left + 6.0,
            y - 5.0,
            markup(name)
        );
    }

    /// Adds a vertical line with a description of its moment.
    pub fn moment(&mut self, value: f64, class: &str, title: &str) {
        let (x, [_, top, _, bottom]) = (self.x(value), AREA);
        let _ = write!(
            self.body,
            "<path class=\"moment {class}\" d=\"M{x:.1} {top}V{bottom}\"><title>{}</title></path>",
            markup(title)
        );
    }

    /// Adds any SVG, which must be escaped already.
    pub fn raw(&mut self, svg: &str) {
        self.body.push_str(svg);
    }

    /// Adds space below the axes and returns where it begins.
    pub fn extend(&mut self, by: f64) -> f64 {
        let begins = self.height;
        self.height += by;
        begins
    }

    /// The finished figure: caption, SVG with title and description, and the legend as text.
    pub fn finish(self, id: &str, title: &str, description: &str) -> String {
        let mut legend = String::new();
        if self.legend.len() > 1 {
            for (class, name) in &self.legend {
                let _ = write!(
                    legend,
                    "<li><svg class=\"key\" viewBox=\"0 0 28 10\" aria-hidden=\"true\"><path class=\"line {class}\" d=\"M1 5H27\"/></svg>{}</li>",
                    markup(name)
                );
            }
            legend = format!("<ul class=\"legend\">{legend}</ul>");
        }
        format!(
            "<figure class=\"plot\"><figcaption>{title}</figcaption>\
             <svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{}</desc>{}</svg>{legend}</figure>\n",
            self.height,
            markup(description),
            self.body,
            title = markup(title),
        )
    }

    fn axes(&mut self, x_name: &str, y_name: &str) {
        let [left, top, right, bottom] = AREA;
        for (value, label) in self.y.ticks() {
            let y = self.y(value);
            let _ = write!(
                self.body,
                "<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                left - 7.0,
                y + 4.0
            );
        }
        for (value, label) in self.x.ticks() {
            let x = self.x(value);
            // A centred label at the last mark would exceed the plot.
            let anchor = if x > right - 8.0 { "end" } else { "middle" };
            let _ = write!(
                self.body,
                "<path class=\"grid\" d=\"M{x:.1} {bottom}v4\"/><text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{label}</text>",
                bottom + 18.0
            );
        }
        let _ = write!(
            self.body,
            "<path class=\"axis\" d=\"M{left} {bottom}H{right}\"/>\
             <text class=\"name\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text class=\"name\" transform=\"translate(11 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            bottom + 36.0,
            markup(x_name),
            f64::midpoint(top, bottom),
            markup(y_name)
        );
    }
}

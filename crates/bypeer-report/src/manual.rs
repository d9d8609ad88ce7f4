use bypeer_diagnose::Cause;

use crate::Look;
use crate::layout::{Page, wrap};
use crate::look::Role;

/// The table of causes: id and title.
pub fn cause_table(causes: &[&Cause], look: Look) -> String {
    let width = causes.iter().map(|cause| cause.id.len()).max().unwrap_or(0) + 2;
    let mut out = String::new();
    for cause in causes {
        for (index, line) in wrap(cause.title, look.columns().saturating_sub(width))
            .iter()
            .enumerate()
        {
            let id = if index == 0 { cause.id } else { "" };
            out.push_str(&look.paint(Role::Copy, id));
            out.extend(std::iter::repeat_n(' ', width - id.len()));
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// A manual page: Markdown made readable on a terminal. Headings, paragraphs, lists, quotes and code blocks; everything
/// else stays as it was written.
pub fn manual_page(markdown: &str, look: Look) -> String {
    let mut page = Page::new(look);
    let mut paragraph = Paragraph::default();
    let mut code = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            paragraph.end(&mut page, look);
            page.apart();
            code = !code;
        } else if code {
            page.verbatim(4, Role::Copy, line);
        } else if line.trim().is_empty() {
            paragraph.end(&mut page, look);
            page.apart();
        } else if let Some(heading) = heading(line) {
            paragraph.end(&mut page, look);
            page.paragraph(0, Some(Role::Strong), &plain(heading));
        } else if line.trim_start().starts_with('|') {
            paragraph.end(&mut page, look);
            page.verbatim(2, Role::Faint, line.trim());
        } else if let Some((indent, marker, text)) = item(line) {
            paragraph.end(&mut page, look);
            paragraph.begin_item(indent, marker, text);
        } else {
            paragraph.add(line.trim());
        }
    }
    paragraph.end(&mut page, look);
    page.finish()
}

fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    ((1..=6).contains(&level)).then(|| text.strip_prefix(' ')).flatten()
}

/// Indent, marker and text of a list item.
fn item(line: &str) -> Option<(usize, &str, &str)> {
    let text = line.trim_start();
    let indent = line.len() - text.len();
    let marker = match text.split_once(' ')?.0 {
        bullet @ ("-" | "*" | "+") => bullet,
        number
            if number.len() > 1
                && number.ends_with('.')
                && number[..number.len() - 1].bytes().all(|b| b.is_ascii_digit()) =>
        {
            number
        }
        _ => return None,
    };
    Some((indent, marker, text[marker.len()..].trim_start()))
}

/// Emphasis without its marks; code keeps its backticks, for they tell where it ends.
fn plain(text: &str) -> String {
    text.replace("**", "")
}

#[derive(Default)]
struct Paragraph {
    text: String,
    indent: usize,
    marker: String,
}

impl Paragraph {
    fn begin_item(&mut self, indent: usize, marker: &str, text: &str) {
        self.indent = indent + 2;
        let bullet = if marker.ends_with('.') { marker } else { "•" };
        self.marker = format!("{bullet} ");
        self.text = text.to_owned();
    }

    fn add(&mut self, line: &str) {
        if !self.text.is_empty() {
            self.text.push(' ');
        } else if self.marker.is_empty() {
            self.indent = 2;
        }
        self.text.push_str(line);
    }

    fn end(&mut self, page: &mut Page, look: Look) {
        let Paragraph { text, indent, marker } = std::mem::take(self);
        if text.is_empty() {
            return;
        }
        let hanging = marker.chars().count();
        for (index, line) in wrap(&plain(&text), look.columns().saturating_sub(indent + hanging))
            .iter()
            .enumerate()
        {
            let lead = if index == 0 {
                marker.clone()
            } else {
                " ".repeat(hanging)
            };
            page.plain(&format!("{}{lead}{line}", " ".repeat(indent)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_readable_without_markdown() {
        let page = "# Title\n\n\nA **strong** word in a paragraph\nthat goes on.\n\n- first `code`\n  and more\n- second\n```sh\ntcpdump -i any\n```\n1. one\n";
        let text = manual_page(page, Look::PLAIN);
        assert_eq!(
            text,
            "Title\n\n  A strong word in a paragraph that goes on.\n\n  • first `code` and more\n  • second\n\n    tcpdump -i any\n\n  1. one\n"
        );
    }

    #[test]
    fn what_only_looks_like_a_mark_is_text() {
        assert_eq!(heading("#hashtag"), None);
        assert_eq!(item("-5 degrees"), None);
        assert_eq!(item("3.5 s later"), None);
        assert_eq!(item("12. twelfth"), Some((0, "12.", "twelfth")));
    }
}

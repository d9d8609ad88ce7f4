use crate::Look;
use crate::look::Role;

/// Columns of the label in front of a field.
pub(crate) const GUTTER: usize = 13;

/// Breaks text at spaces so that no line is longer than `width`; a word that is longer by itself stands alone.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut columns = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if columns > 0 && columns + 1 + length > width {
            lines.push(std::mem::take(&mut line));
            columns = 0;
        }
        if columns > 0 {
            line.push(' ');
            columns += 1;
        }
        line.push_str(word);
        columns += length;
    }
    if columns > 0 || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// Text in a page with a left column of labels.
#[derive(Debug)]
pub struct Page {
    look: Look,
    out: String,
}

impl Page {
    /// An empty page.
    pub fn new(look: Look) -> Page {
        Page {
            look,
            out: String::new(),
        }
    }

    /// The text.
    pub fn finish(self) -> String {
        self.out
    }

    /// A blank line.
    pub fn blank(&mut self) {
        self.out.push('\n');
    }

    /// A blank line, unless there is one already or nothing before.
    pub fn apart(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.blank();
        }
    }

    /// A line with a painted beginning, the rest wrapped under the text after it.
    pub fn headline(&mut self, tag: &str, role: Role, text: &str) {
        let indent = tag.chars().count() + 1;
        for (index, line) in wrap(text, self.look.columns().saturating_sub(indent))
            .iter()
            .enumerate()
        {
            if index == 0 {
                self.out.push_str(&self.look.paint(role, tag));
                self.out.push(' ');
            } else {
                self.pad(indent);
            }
            self.out.push_str(&self.look.paint(Role::Strong, line));
            self.out.push('\n');
        }
    }

    /// A wrapped paragraph at an indent, in a role's style.
    pub fn paragraph(&mut self, indent: usize, role: Option<Role>, text: &str) {
        for line in wrap(text, self.look.columns().saturating_sub(indent)) {
            self.pad(indent);
            match role {
                Some(role) => self.out.push_str(&self.look.paint(role, &line)),
                None => self.out.push_str(&line),
            }
            self.out.push('\n');
        }
    }

    /// Items with a dot between them; a line breaks between two items where it can.
    pub fn items(&mut self, indent: usize, role: Role, items: &[String]) {
        const DOT: &str = " · ";
        let width = self.look.columns().saturating_sub(indent);
        let mut line = String::new();
        for item in items {
            let length = line.chars().count() + DOT.len() + item.chars().count();
            if !line.is_empty() && length > width {
                self.paragraph(indent, Some(role), &std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push_str(DOT);
            }
            line.push_str(item);
        }
        self.paragraph(indent, Some(role), &line);
    }

    /// A label in the left column and text wrapped beside it. An empty label continues the field above.
    pub fn field(&mut self, label: &str, text: &str) {
        self.field_hanging(label, "", text);
    }

    /// A field whose text begins with `lead` and wraps to the right of it.
    pub fn field_hanging(&mut self, label: &str, lead: &str, text: &str) {
        let indent = GUTTER + lead.chars().count();
        for (index, line) in wrap(text, self.look.columns().saturating_sub(indent))
            .iter()
            .enumerate()
        {
            if index == 0 {
                self.label(label);
                self.out.push_str(&self.look.paint(Role::Copy, lead));
            } else {
                self.pad(indent);
            }
            self.out.push_str(line);
            self.out.push('\n');
        }
    }

    /// A field whose text is one thing to copy: never wrapped.
    pub fn field_to_copy(&mut self, label: &str, text: &str) {
        self.label(label);
        self.out.push_str(&self.look.paint(Role::Copy, text));
        self.out.push('\n');
    }

    /// A line as it is.
    pub fn verbatim(&mut self, indent: usize, role: Role, text: &str) {
        self.pad(indent);
        self.out.push_str(&self.look.paint(role, text));
        self.out.push('\n');
    }

    /// A line without any style.
    pub fn plain(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn label(&mut self, label: &str) {
        self.pad(2);
        self.out.push_str(&self.look.paint(Role::Label, label));
        self.pad(GUTTER.saturating_sub(2 + label.chars().count()));
    }

    fn pad(&mut self, columns: usize) {
        self.out.extend(std::iter::repeat_n(' ', columns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_to_the_width() {
        let text = "the quick brown fox jumps over the lazy dog and a-word-that-is-longer-than-any-line ends it";
        for width in 1..60 {
            let lines = wrap(text, width);
            assert_eq!(lines.join(" "), text, "width {width}");
            for line in &lines {
                assert!(
                    line.chars().count() <= width || !line.contains(' '),
                    "{line:?} at {width}"
                );
            }
        }
    }

    #[test]
    fn empty_text_is_one_empty_line() {
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("   ", 10), [""]);
    }
}

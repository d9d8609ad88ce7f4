use anstyle::{AnsiColor, Style};

/// How text is to look: decided by the program that prints it, which knows the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns to fill; text is wrapped to at least [`Look::NARROWEST`].
    pub width: usize,
    /// Whether to colour it.
    pub color: bool,
}

impl Look {
    /// Below this no table fits; a terminal that is narrower wraps by itself.
    pub const NARROWEST: usize = 60;
    /// Beyond this, lines are hard to read.
    pub const WIDEST: usize = 110;

    /// Text without colours, 100 columns wide: for pipes and files.
    pub const PLAIN: Look = Look {
        width: 100,
        color: false,
    };

    /// Columns that text fills.
    pub fn columns(self) -> usize {
        self.width.clamp(Look::NARROWEST, Look::WIDEST)
    }

    /// `text` in a role's style, or as it is.
    pub fn paint(self, role: Role, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let style = role.style();
        format!("{}{text}{}", style.render(), style.render_reset())
    }
}

/// What a piece of text is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A certain finding.
    Certain,
    /// A likely finding.
    Likely,
    /// An undecided finding.
    Undecided,
    /// A harmless one, or good news.
    Harmless,
    /// A headline.
    Strong,
    /// A label in the left column.
    Label,
    /// Numbers of packets, filters: what one copies.
    Copy,
    /// What is there for completeness.
    Faint,
}

impl Role {
    fn style(self) -> Style {
        let bright = |color: AnsiColor| color.on_default().bold();
        match self {
            Role::Certain => bright(AnsiColor::Red),
            Role::Likely => bright(AnsiColor::Yellow),
            Role::Undecided => bright(AnsiColor::Magenta),
            Role::Harmless => AnsiColor::Green.on_default(),
            Role::Strong => Style::new().bold(),
            Role::Label => AnsiColor::Blue.on_default().bold(),
            Role::Copy => AnsiColor::Cyan.on_default(),
            Role::Faint => Style::new().dimmed(),
        }
    }
}

//! The chain drawn in a line, or from top to bottom where the line would be too long.

use crate::hop::{Hop, Limit, Told};
use crate::judge::{Chain, Order, Pair, Report};

/// What the drawing is made of.
struct Signs {
    node: &'static str,
    link: &'static str,
    right: &'static str,
    tight: &'static str,
    wrong: &'static str,
    unused: &'static str,
    unknown: &'static str,
    down: &'static str,
}

const UNICODE: Signs = Signs {
    node: "●",
    link: "─",
    right: "✓",
    tight: "≈",
    wrong: "✗",
    unused: "·",
    unknown: "?",
    down: "│",
};

const ASCII: Signs = Signs {
    node: "o",
    link: "-",
    right: "<",
    tight: "~",
    wrong: "X",
    unused: ".",
    unknown: "?",
    down: "|",
};

/// The drawing's lines; no longer than `width`, but for names that are.
pub(crate) fn draw(chain: &Chain, report: &Report, width: usize, unicode: bool) -> Vec<String> {
    let signs = if unicode { &UNICODE } else { &ASCII };
    let lines = across(chain, report, signs);
    let fits = lines.iter().all(|line| line.chars().count() <= width);
    let mut lines = if fits { lines } else { down(chain, report, signs) };
    if !unicode {
        for line in &mut lines {
            *line = ascii(line);
        }
    }
    lines
}

/// Nothing that a terminal without UTF-8 cannot show.
pub(crate) fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '–' | '—' | '─' | '−' => out.push('-'),
            'µ' => out.push('u'),
            '→' => out.push_str("->"),
            '×' => out.push('x'),
            '…' => out.push_str("..."),
            c if c.is_ascii() => out.push(c),
            _ => out.push('?'),
        }
    }
    out
}

fn sign(order: &Order, signs: &Signs) -> &'static str {
    match order {
        Order::Right => signs.right,
        Order::Tight => signs.tight,
        Order::Wrong => signs.wrong,
        Order::NotReused => signs.unused,
        Order::CannotTell(_) => signs.unknown,
    }
}

fn limit(told: Option<&Told<Limit>>) -> String {
    told.map_or_else(|| "?".to_owned(), |told| told.value.words())
}

fn name(hop: &Hop) -> String {
    bypeer_report::escape(&hop.name).into_owned()
}

fn limits(chain: &Chain, pair: &Pair) -> (String, String) {
    let pool = limit(chain.hops[pair.opener].opens.pool.as_ref());
    let idle = limit(chain.hops[pair.opener + 1].accepts.idle.as_ref());
    (pool, idle)
}

fn across(chain: &Chain, report: &Report, signs: &Signs) -> Vec<String> {
    let Some(first) = chain.hops.first() else {
        return Vec::new();
    };
    let names: Vec<String> = chain.hops.iter().map(name).collect();
    let length = |text: &str| text.chars().count();
    let lead = length(&name(first)) / 2;
    let mut above = String::new();
    let mut below = format!("{}{}", " ".repeat(lead), signs.node);
    let write_name = |above: &mut String, name: &str, at: usize| {
        let start = at.saturating_sub(length(name) / 2);
        let pad = start.saturating_sub(length(above));
        above.push_str(&" ".repeat(pad));
        above.push_str(name);
    };
    write_name(&mut above, &names[0], lead);
    for pair in &report.pairs {
        let (pool, idle) = limits(chain, pair);
        let text = format!(" {pool} {} {idle} ", sign(&pair.order, signs));
        let (left, right) = (&names[pair.opener], &names[pair.opener + 1]);
        let least = length(left) / 2 + length(right) / 2 + 3;
        let links = least.saturating_sub(length(&text)).max(4);
        let before = links / 2;
        below.push_str(&signs.link.repeat(before));
        below.push_str(&text);
        below.push_str(&signs.link.repeat(links - before));
        write_name(&mut above, right, length(&below));
        below.push_str(signs.node);
    }
    vec![above, below]
}

fn down(chain: &Chain, report: &Report, signs: &Signs) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, hop) in chain.hops.iter().enumerate() {
        lines.push(format!("{} {}", signs.node, name(hop)));
        if let Some(pair) = report.pairs.get(index) {
            let (pool, idle) = limits(chain, pair);
            lines.push(format!("{}   {pool}", signs.down));
            lines.push(format!("{} {}", signs.down, sign(&pair.order, signs)));
            lines.push(format!("{}   {idle}", signs.down));
        }
    }
    lines
}

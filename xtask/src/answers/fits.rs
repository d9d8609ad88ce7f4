//! Whether a text is what a template gives, whatever was measured.

use super::template::{Piece, Template};

/// Longest that a number within a sentence can be.
const LONGEST_VALUE: usize = 40;

/// Whether it is.
///
/// # Errors
/// Up to where it is.
pub fn fits(template: &Template, text: &str) -> Result<(), String> {
    let mut furthest = text.len();
    if rest_fits(&template.pieces, text, &mut furthest) {
        return Ok(());
    }
    let (before, after) = text.split_at(text.floor_char_boundary(text.len() - furthest));
    let line = before.matches('\n').count() + 1;
    let here: String = after.chars().take(60).collect();
    Err(format!("line {line} is not what the template gives, from {here:?}"))
}

/// `furthest`: the shortest rest that could not be matched.
fn rest_fits(pieces: &[Piece], text: &str, furthest: &mut usize) -> bool {
    *furthest = text.len().min(*furthest);
    let Some((piece, others)) = pieces.split_first() else {
        return text.is_empty();
    };
    match piece {
        Piece::Text(wanted) => {
            let same = wanted
                .bytes()
                .zip(text.bytes())
                .take_while(|(wanted, found)| wanted == found);
            let same = same.count();
            *furthest = (text.len() - same).min(*furthest);
            same == wanted.len() && rest_fits(others, &text[same..], furthest)
        }
        Piece::Made => {
            let end = text.find("\n\n").unwrap_or(text.len());
            text.starts_with("Measured on ") && rest_fits(others, &text[end..], furthest)
        }
        Piece::Fixes(fixes) => table(text, fixes.ids.len() + 3).is_some_and(|rest| rest_fits(others, rest, furthest)),
        Piece::Table(table_) => {
            table(text, table_.specs.len() + 2).is_some_and(|rest| rest_fits(others, rest, furthest))
        }
        Piece::Value(..) | Piece::Sum(..) => {
            let line = text.lines().next().unwrap_or_default();
            let ends = line.char_indices().skip(1).map(|(at, _)| at).chain([line.len()]);
            let mut ends = ends.filter(|end| *end > 0).take(LONGEST_VALUE);
            ends.any(|end| rest_fits(others, &text[end..], furthest))
        }
    }
}

/// What follows on a table of so many lines.
fn table(text: &str, lines: usize) -> Option<&str> {
    let mut rest = text;
    for line in 0..lines {
        if line > 0 {
            rest = rest.strip_prefix('\n')?;
        }
        let end = rest.find('\n').unwrap_or(rest.len());
        if !(rest.starts_with('|') && rest[..end].ends_with('|')) {
            return None;
        }
        rest = &rest[end..];
    }
    Some(rest)
}

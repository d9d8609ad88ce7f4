/// A line of a script that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}: {text:?}")]
pub struct ScriptError {
    /// 1-based.
    pub line: usize,
    /// The line.
    pub text: String,
    /// What is wrong, and what would be right.
    pub why: String,
}

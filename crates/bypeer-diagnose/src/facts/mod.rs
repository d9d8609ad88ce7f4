//! Numbers and names of standards and products, from `facts/*.toml`, each with its source there.
//!
//! [`software`] recognises a product by what it calls itself, [`recognise`] by everything it shows; [`defaults`] tells what it
//! does if nobody says otherwise, by version; [`setting`] gives the line that makes it do something else. [`misdelivered`] is about
//! answers on the wrong request.

mod advice;
mod defaults;
mod habits;
mod misdelivered;
mod recognise;
mod settings;
mod software;
mod version;

pub(crate) use advice::{Situation, clauses, fixes};
pub use advice::{clause, fixes_of_http};
pub use defaults::{Defaults, Known, Limit, Repeats, defaults};
pub use habits::{Habits, habits};
pub use misdelivered::{Basis, Fit, Fits, Mechanism, Mechanisms, Question, Said, Speaks, ToldFact, misdelivered};
pub use recognise::{Place, Recognised, Signs, Sure, recognise};
pub use settings::{Line, Parameter, Setting, Value, setting, setting_of_version, settings_of};
pub use software::{Role, Software, all_software, client_software, software, software_by_id};
pub use version::Version;

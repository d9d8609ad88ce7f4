//! The causes, one a file. This table is the one place that lists them; help, manual, documentation and tests walk it.

use crate::{Cause, Hearing, Weighed};

pub(crate) mod proof;
pub(crate) mod reuse;
pub(crate) mod swap;

/// Declares the modules and the table in one go: a cause is listed once.
macro_rules! causes {
    ($($module:ident),* $(,)?) => {
        $(mod $module;)*
        /// Every cause, in the order of the manual; of equally strong causes the first leads.
        pub static CAUSES: &[&Cause] = &[$(&$module::CAUSE),*];
    };
}

causes![
    unread_request_body,
    early_error_body_limit,
    unread_trailing_bytes,
    unread_tls_record,
    late_data_after_close,
    keepalive_race_unannounced_close,
    unannounced_close_each_response,
    keepalive_race_announced_close,
    idle_timeout_inversion,
    proxy_max_requests,
    so_linger_zero,
    process_killed,
    client_cancel,
    client_undrained_response,
    upstream_no_response_close,
    incomplete_response,
    closed_port,
    listener_closed_pending_accept,
    backlog_overflow_drop,
    backlog_overflow_rst,
    half_open_after_reboot,
    silent_drop,
    netfilter_reject,
    injected_rst,
    keepalive_timeout,
    user_timeout_or_rto,
    icmp_error_abort,
    tls_close_notify_answer_rst,
    deliberate_pool_rst,
    nat_entry_lost,
    desync_fd_reuse_double_close,
    desync_shared_state,
    desync_pool_unread_response,
    desync_pipeline_off_by_one,
    desync_unread_body_as_request,
    desync_unsolicited_response,
];

/// The cause with an id.
pub fn find(id: &str) -> Option<&'static Cause> {
    CAUSES.iter().copied().find(|cause| cause.id == id)
}

/// For causes that no kernel can tell of: they are about requests, which kernels do not know.
pub(crate) fn cannot_be_heard(_: &Hearing) -> Option<Weighed> {
    None
}

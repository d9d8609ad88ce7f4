//! What is still to come of a request whose answer is there already.
//!
//! Many clients read the answer only after everything is sent. So the rest is read while the answer is written, whatever its size is,
//! within `close.bytes` and `close.total`. Where the answer says `Connection: close`, reading goes on here only until the answer is in the
//! kernel's hands; then hyper lets the connection go, and it lingers, which is cheaper and sends our FIN.

use std::future::poll_fn;
use std::task::Poll;

use super::request_body::Begun;

/// Reads the rest, in a task of its own: early answers are rare.
pub(super) fn rest(begun: Begun) {
    if !begun.state.has_rest() || !begun.state.client.worker.is_running() {
        begun.state.let_go();
        return;
    }
    begun.state.forget_limit();
    begun.state.client.enter();
    tokio::task::spawn_local(read(begun));
}

async fn read(mut begun: Begun) {
    let client = begun.state.client.clone();
    let close = client.worker.settings().config.close.clone();
    let already = begun.state.bytes();
    let reading = poll_fn(|cx| {
        loop {
            if begun.state.closes_after_answer() && client.poll_answer_flushed(cx) {
                return Poll::Ready(());
            }
            match begun.poll(cx) {
                Poll::Ready(Some(Ok(_))) if begun.state.bytes() - already <= close.bytes => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    let _ = tokio::time::timeout(close.total, reading).await;
    begun.state.let_go();
    drop(begun);
    client.leave();
}

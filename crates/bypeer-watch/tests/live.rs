//! The kernel part against this machine's kernel.

#![allow(clippy::unwrap_used)]
use bypeer_watch::Tier;
use bypeer_watch::bpf::*;

#[test]
#[ignore = "needs root"]
fn every_combination_of_settings_is_let_in() {
    for tier in [Tier::Resets, Tier::Calls, Tier::Payload] {
        for netns in [None, Some(4026531840)] {
            for stacks in [false, true] {
                let settings = Settings { tier, netns, stacks };
                let live = Live::load(&settings).unwrap();
                for hook in &live.capabilities().hooks {
                    assert!(
                        matches!(hook.state, HookState::Attached | HookState::NotWanted),
                        "{settings:?}: {hook:#?}"
                    );
                }
            }
        }
    }
}

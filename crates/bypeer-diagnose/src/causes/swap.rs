//! What the causes of swapped answers have in common: how a swap is told, and what both of its connections show of it.

use bypeer_wire::app::Place;

use crate::causes::proof;
use crate::misdelivered::astray::{Asked, Fate, Sign, Swap};
use crate::story::Story;
use crate::{Evidence, Source};

/// What would decide between the ways in which a server gives an answer to the wrong connection.
pub const SETTLED: &str = "the client port that the server logged for each of the two requests (both that of the one that got no answer: one \
     descriptor for two connections; both the other's: a shared parser; each its own: the program mixed up its own answers), an \
     X-Request-Id that is asked with and repeated, or `strace -f -yy -ttt -e trace=accept4,close,read,write,writev -p PID`";

/// The swap in which this story's connection has a part.
pub fn of<'a>(story: &Story<'a>) -> Option<&'a Swap> {
    let astray = &story.around.astray;
    astray.given.as_deref().or(astray.taken.as_deref())
}

/// One line about what was swapped, from this connection's side.
pub fn verdict(story: &Story<'_>, swap: &Swap, how: &str) -> String {
    let (due, given) = (&swap.due, &swap.given);
    if swap.given.stream == story.connection.stream {
        let sure = match swap.sign {
            Sign::Surplus => "may have been",
            _ => "was",
        };
        return format!(
            "{} was answered with what {sure} due to {} on stream {}{}: {how}",
            given.route,
            due.route,
            due.stream,
            whose(swap)
        );
    }
    format!(
        "the answer to {} was given to {} on stream {}{}: {how}",
        due.route,
        given.route,
        given.stream,
        whose(swap)
    )
}

/// What was disclosed, and to whom.
pub fn disclosed(due: &Asked, given: &Asked) -> String {
    let to = if due.stream == given.stream {
        "its own client, for another request".to_owned()
    } else if due.client.addr == given.client.addr {
        format!("another connection of {}", given.client.addr)
    } else {
        format!("{}, which had not asked for it", given.client.addr)
    };
    format!("the answer to {} of {} went to {to}", due.route, due.client.addr)
}

fn whose(swap: &Swap) -> &'static str {
    if swap.due.client.addr == swap.given.client.addr {
        ", another connection of the same host"
    } else {
        ", another host's"
    }
}

/// Both requests, what became of the one, and the answer.
pub fn proof(story: &Story<'_>, swap: &Swap) -> Vec<Evidence> {
    let (due, given) = (&swap.due, &swap.given);
    let mut all = vec![
        Evidence::packet(
            due.at,
            format!("stream {}: {} asks {}", due.stream, due.client, due.route),
        ),
        Evidence::packet(
            given.at,
            format!("stream {}: {} asks {}", given.stream, given.client, given.route),
        ),
    ];
    all.extend(match swap.fate {
        Fate::ClosedInHand(at) => Some(Evidence::packet(
            at,
            format!(
                "stream {}: the server closes; it had received all of {} and answered no byte",
                due.stream, due.route
            ),
        )),
        Fate::ClientLeft(at) => Some(Evidence::packet(
            at,
            format!("stream {}: the client leaves before its answer came", due.stream),
        )),
        Fate::Exchanged(at) => Some(Evidence::packet(
            at,
            match swap.sign {
                Sign::Echo { place, .. } => format!(
                    "stream {}: {} is answered without its {}",
                    due.stream,
                    due.route,
                    named(place)
                ),
                _ => format!(
                    "stream {}: {} is answered in the form of {}",
                    due.stream, due.route, given.route
                ),
            },
        )),
        Fate::GivenAnothers { at, .. } => Some(Evidence::packet(
            at,
            format!("stream {}: {} is given another's answer itself", due.stream, due.route),
        )),
        Fate::Silent => None,
    });
    let by = match &swap.sign {
        Sign::Shape { shape, .. } => format!("in the form of {}: {shape}", due.route),
        Sign::Echo { place, .. } => format!(
            "with the {} of {} in it, and not with its own",
            named(*place),
            due.route
        ),
        Sign::Surplus => "and then another".to_owned(),
        Sign::Calls => format!("that the program had made for {}", due.route),
    };
    all.push(Evidence::packet(
        swap.answer,
        match swap.own_came_first {
            true => format!("stream {}: an answer that no request had asked for, {by}", given.stream),
            false => format!("stream {}: {} is answered {by}", given.stream, given.route),
        },
    ));
    all.extend(swap.own_followed.map(|at| {
        let what = match swap.own_came_first {
            true => format!("stream {}: the answer before that is its own", given.stream),
            false => format!(
                "stream {}: a second answer, which no request had asked for; it has the form that {} asked for",
                given.stream, given.route
            ),
        };
        Evidence::packet(at, what)
    }));
    let group = |what: String| Evidence {
        source: Source::Group,
        number: 0,
        time: swap.answer.time,
        what,
    };
    match &swap.sign {
        Sign::Shape {
            odds, of_due, of_given, ..
        } => all.push(group(format!(
            "this form is {}as likely for {} as for {}, by {of_due} and {of_given} answers of this server",
            times(*odds),
            due.route,
            given.route
        ))),
        Sign::Echo { place, of } => all.push(group(format!(
            "answers to {} repeat the {} of their request: {of} did",
            given.route,
            named(*place)
        ))),
        Sign::Surplus | Sign::Calls => {}
    }
    if swap.fate == Fate::Silent {
        all.push(group(format!(
            "stream {}: {} was never answered; its connection stayed open",
            due.stream, due.route
        )));
    }
    if swap.waiting > 1 {
        all.push(group(format!(
            "{} requests for {} were waiting then; the answer may be that of any, and the one that waited longest is named",
            swap.waiting, due.route
        )));
    }
    all.extend(proof::ending(story, None));
    all
}

fn times(odds: f64) -> String {
    format!("{odds:.0} times ")
}

/// What stands there.
pub fn named(place: Place) -> &'static str {
    match place {
        Place::Segment(_) => "path segment",
        Place::Query(_) => "query value",
        Place::Field(_) => "header value",
        Place::Argument(_) => "argument",
    }
}

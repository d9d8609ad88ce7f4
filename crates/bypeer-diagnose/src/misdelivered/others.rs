//! Whose an answer may be: requests that wait on other connections, and those beside it on its own.

use super::*;

impl Deliveries {
    /// Places of the request whose words the answer lacks, where answers of its kind may be wont to repeat them.
    pub(super) fn lacks(&self, server: Endpoint, request: &Request, look: &Look) -> Vec<Place> {
        if look.tokens_cut || look.tokens.is_empty() {
            return Vec::new();
        }
        let Some(profile) = self.profiles.of(server, &request.route) else {
            return Vec::new();
        };
        let lacking = request
            .tokens
            .iter()
            .filter(|token| look.tokens.binary_search(&token.word).is_err() && profile.may_echo(token.place));
        lacking.map(|token| token.place).collect()
    }

    /// Requests older than the receiver's that wait on other connections, and may be what the answer was for; younger ones, whole before the
    /// answer began, only where it repeats a word of theirs.
    #[expect(clippy::too_many_arguments, reason = "all that is known of one answer")]
    pub(super) fn candidates(
        &self,
        receiver: u64,
        server: Endpoint,
        [since, begun]: [Timestamp; 2],
        request: &Request,
        look: &Look,
        rare: bool,
        lacks: &[Place],
    ) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = Vec::new();
        let unanswered = self.waiting.get(&server).into_iter().flatten().take(LOOKED_AT);
        let passing = self
            .passing
            .get(&server)
            .into_iter()
            .flatten()
            .map(|(key, waiting)| (key, waiting));
        for ((whole, connection, index), waiting) in unanswered.chain(passing) {
            if candidates.len() >= CANDIDATES {
                break;
            }
            let younger = *whole >= since;
            if younger && (lacks.is_empty() || *whole >= begun) {
                continue;
            }
            let window = match waiting.over {
                None if waiting.misanswered.is_some() => AFTER_A_LEAVE,
                None => Duration::MAX,
                Some(over) if over.by == Direction::ToClient => AFTER_A_CLOSE,
                Some(_) => AFTER_A_LEAVE,
            };
            let left = waiting.over.map(|over| over.at).or(waiting.misanswered);
            let gone = left.map_or(Duration::ZERO, |left| since.since(left.time));
            if *connection == receiver || gone > window {
                continue;
            }
            let echo = repeated(&waiting.request.tokens, lacks, look);
            let route = &waiting.request.route;
            let called = self.numbers.get(&receiver) == Some(connection);
            // Of those that may themselves have been given another's, only who is known to be answered so: they are many when little is known.
            let usual = || {
                self.profiles
                    .of(server, route)
                    .is_some_and(|own| own.share(form(look)) >= USUAL)
            };
            let by_form = rare && !younger && *route != request.route && (waiting.misanswered.is_none() || usual());
            let alike = candidates
                .iter()
                .filter(|other| other.route == *route && other.echo.is_none())
                .count();
            if echo.is_none() && !called && (!by_form || alike >= CANDIDATES_ALIKE) {
                continue;
            }
            candidates.push(Candidate {
                id: (*connection, *index),
                asked: asked(*connection, waiting.client, waiting.asked, route),
                route: route.clone(),
                end: waiting.end,
                outcome: waiting.outcome(),
                echo,
            });
        }
        candidates
    }

    /// An answer that no request had asked for.
    pub(super) fn unasked(&mut self, connection: u64, look: &Look, at: PacketRef) {
        if look.status.is_none_or(|status| status >= 400) {
            return;
        }
        let tail = Some((at, form(look)));
        if let Some(suspicion) = self
            .receivers
            .get(&connection)
            .and_then(|id| self.suspicions.get_mut(id))
        {
            suspicion.tail = suspicion.tail.or(tail);
            return;
        }
        // The answer before it may be that of a request which the server had in hand when it closed.
        let Some(line) = self.lines.get(&connection).filter(|line| line.whole) else {
            return;
        };
        let Some(answer) = line.answers.back().cloned() else {
            return;
        };
        let server = line.server;
        let closed = |waiting: &Waiting| {
            let over = waiting.over.filter(|over| over.by == Direction::ToClient);
            over.is_some_and(|over| {
                over.at.time < answer.asked.time && answer.asked.time.since(over.at.time) <= AFTER_A_CLOSE
            })
        };
        let waiting = self.waiting.get(&server).into_iter().flatten().take(LOOKED_AT);
        let candidates: Vec<Candidate> = waiting
            .filter(|((_, other, _), waiting)| *other != connection && closed(waiting))
            .take(CANDIDATES_ALIKE)
            .map(|((_, other, index), waiting)| Candidate {
                id: (*other, *index),
                asked: asked(*other, waiting.client, waiting.asked, &waiting.request.route),
                route: waiting.request.route.clone(),
                end: waiting.end,
                outcome: waiting.outcome(),
                echo: None,
            })
            .collect();
        if candidates.is_empty() {
            return;
        }
        // Where the answer before it is as it should be, it is this one that may be the other's.
        let first = self
            .profiles
            .of(server, &answer.route)
            .is_some_and(|own| own.answers() > 2 && own.share(answer.form) >= USUAL && answer.form != form(look));
        let (this, tail) = match first {
            true => ((at, form(look)), Some((answer.at, answer.form))),
            false => ((answer.at, answer.form), tail),
        };
        let suspicion = Suspicion {
            server,
            receiver: connection,
            index: answer.index,
            given: asked(connection, line.client, answer.asked, &answer.route),
            route: answer.route,
            form: this.1,
            answer: this.0,
            served: line.served,
            candidates,
            tail,
            tail_came_first: first,
            receiver_opened: None,
            receiver_over: line.over,
            receiver_last: line.last_said,
            called: None,
        };
        self.keep(suspicion);
    }

    /// Remembers an answer that another request on the same connection may have asked for.
    pub(super) fn misplace(
        &mut self,
        connection: u64,
        ask: &Ask,
        request: &Request,
        look: &Look,
        rare: bool,
        lacks: &[Place],
    ) {
        let Some(line) = self.lines.get(&connection) else {
            return;
        };
        let behind = line
            .owed
            .iter()
            .take(4)
            .filter_map(|other| Some((other.at, other.request.as_ref()?)))
            .map(|(at, other)| (at, &other.route, &other.tokens));
        let before = line
            .answers
            .iter()
            .filter(|other| other.index != ask.index)
            .map(|other| (other.asked, &other.route, &other.tokens));
        let neighbours: Vec<Neighbour> = behind
            .chain(before)
            .map(|(at, route, tokens)| (at, route, repeated(tokens, lacks, look)))
            .filter(|(_, route, echo)| echo.is_some() || rare && **route != request.route)
            .map(|(at, route, echo)| Neighbour {
                asked: asked(connection, line.client, at, route),
                route: route.clone(),
                echo,
            })
            .collect();
        let full = self.misplaced.len() >= FOUND && !self.misplaced.contains_key(&connection);
        if neighbours.is_empty() || full {
            return;
        }
        let misplaced = Misplaced {
            given: asked(connection, line.client, ask.at, &request.route),
            route: request.route.clone(),
            form: form(look),
            answer: ask.answering.map_or(ask.at, |(at, _)| at),
            neighbours,
        };
        let of_it = self.misplaced.entry(connection).or_default();
        if of_it.len() < MISPLACED {
            of_it.push(misplaced);
        }
    }
}

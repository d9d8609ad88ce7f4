//! The interfaces of a capture: what they are called, what they saw, and which one is asked for.

use std::fmt::Write as _;

use bypeer_wire::capture::Interface;
use bypeer_wire::conn::Vantages;

/// What `--interface` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// As Wireshark counts them, from 0.
    Number(u32),
    /// The capture's own name for it.
    Name(String),
}

impl Which {
    /// All digits are a number, whatever interfaces are called.
    pub(crate) fn of(text: &str) -> Which {
        text.parse()
            .map_or_else(|_| Which::Name(text.to_owned()), Which::Number)
    }

    fn is(&self, number: u32, name: Option<&str>) -> bool {
        match self {
            Which::Number(asked) => *asked == number,
            Which::Name(asked) => name == Some(asked),
        }
    }
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Which::Number(number) => number.fmt(f),
            Which::Name(name) => name.fmt(f),
        }
    }
}

/// What is known of the interfaces of all files.
#[derive(Debug, Default)]
pub struct Interfaces {
    asked: Option<Which>,
    /// One for each number and name.
    rows: Vec<Row>,
    /// Indices of the rows, by the numbers of the file that is being read.
    current: Vec<usize>,
    /// Packets of interfaces that have no row.
    beyond: u64,
}

#[derive(Debug)]
struct Row {
    number: u32,
    name: Option<String>,
    packets: u64,
    asked: bool,
}

impl Interfaces {
    /// Interfaces kept.
    const MOST: usize = 4096;
    /// Interfaces told one by one.
    const TOLD: usize = 16;

    /// `asked`: the only one that is judged.
    pub(crate) fn new(asked: Option<Which>) -> Interfaces {
        Interfaces {
            asked,
            ..Interfaces::default()
        }
    }

    /// Takes the next interface of a file; number 0 begins another file.
    pub(crate) fn take(&mut self, interface: &Interface<'_>) {
        let Interface { number, name } = *interface;
        if number == 0 {
            self.current.clear();
        }
        if self.current.len() != number as usize || self.current.len() == Self::MOST {
            return;
        }
        let known = |row: &Row| row.number == number && row.name.as_deref() == name;
        let row = match self.rows.iter().position(known) {
            Some(row) => row,
            None if self.rows.len() == Self::MOST => return,
            None => {
                self.rows.push(Row {
                    number,
                    name: name.map(str::to_owned),
                    packets: 0,
                    asked: self.is_asked(number, name),
                });
                self.rows.len() - 1
            }
        };
        self.current.push(row);
    }

    /// Counts a packet; says whether its interface is asked for.
    #[inline]
    pub(crate) fn count(&mut self, number: u32) -> bool {
        let row = self.current.get(number as usize);
        match row.and_then(|row| self.rows.get_mut(*row)) {
            Some(row) => {
                row.packets += 1;
                row.asked
            }
            None => {
                self.beyond += 1;
                self.is_asked(number, None)
            }
        }
    }

    fn is_asked(&self, number: u32, name: Option<&str>) -> bool {
        self.asked.as_ref().is_none_or(|asked| asked.is(number, name))
    }

    /// Why nothing of the interface that is asked for could be judged: it is not there, or saw nothing.
    pub(crate) fn nothing_of_it(&self) -> Option<String> {
        let asked = self.asked.as_ref()?;
        let mut there = self.rows.iter().filter(|row| row.asked);
        let is_there = there.clone().next().is_some();
        if there.any(|row| row.packets > 0) {
            return None;
        }
        let what = match (is_there, asked) {
            (true, _) => format!("interface {asked} saw no packet"),
            (false, Which::Number(number)) => format!("there is no interface {number}"),
            (false, Which::Name(name)) => format!("no interface is called {name:?}"),
        };
        Some(format!("{what}; the capture has {}", self.list()))
    }

    /// What is to be said of them under the report.
    pub(crate) fn note(&self, vantages: &Vantages) -> Option<String> {
        if self.nothing_of_it().is_some() {
            return None;
        }
        if let Some(asked) = &self.asked {
            let (judged, others) = self.rows.iter().partition::<Vec<&Row>, _>(|row| row.asked);
            let sum = |rows: &[&Row]| rows.iter().map(|row| row.packets).sum::<u64>();
            let (judged, others) = (sum(&judged), sum(&others) + self.beyond);
            return (others > 0).then(|| {
                format!(
                    "judged by what interface {asked} saw alone, {judged} of {} packets; packets and streams are numbered \
                     over all of them",
                    judged + others
                )
            });
        }
        if vantages.connections == 0 {
            return None;
        }
        let connections = match vantages.connections {
            1 => "1 connection was".to_owned(),
            count => format!("{count} connections were"),
        };
        let judged_by: Vec<String> = vantages
            .judged_by
            .iter()
            .take(Self::TOLD)
            .map(|(number, count)| format!("{count} by {}", self.label(*number)))
            .collect();
        Some(format!(
            "{connections} seen by several interfaces, and judged by the one that saw the first packet ({}); {} packets that \
             the others saw were left out; --interface judges by one alone: {}",
            judged_by.join(", "),
            vantages.left_out,
            self.list()
        ))
    }

    /// Its name, if it has one.
    fn label(&self, number: u32) -> String {
        let row = self.current.get(number as usize).and_then(|row| self.rows.get(*row));
        row.and_then(|row| row.name.clone())
            .unwrap_or_else(|| format!("interface {number}"))
    }

    fn list(&self) -> String {
        let mut list = String::new();
        for row in self.rows.iter().take(Self::TOLD) {
            if !list.is_empty() {
                list.push_str(", ");
            }
            let packets = match row.packets {
                1 => "1 packet".to_owned(),
                packets => format!("{packets} packets"),
            };
            let _ = match &row.name {
                Some(name) => write!(list, "{} {name} ({packets})", row.number),
                None => write!(list, "{} (no name, {packets})", row.number),
            };
        }
        match self.rows.len().saturating_sub(Self::TOLD) {
            0 if list.is_empty() => "none".to_owned(),
            0 => list,
            more => format!("{list} and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interfaces(asked: Option<&str>, names: &[Option<&str>]) -> Interfaces {
        let mut interfaces = Interfaces::new(asked.map(Which::of));
        for (number, name) in (0..).zip(names) {
            interfaces.take(&Interface { number, name: *name });
        }
        interfaces
    }

    #[test]
    fn by_number_and_by_name() {
        let names = [Some("client"), Some("1"), None];
        for (asked, expected) in [
            (None, [true; 3]),
            (Some("client"), [true, false, false]),
            (Some("1"), [false, true, false]),
            (Some("2"), [false, false, true]),
            (Some("Client"), [false; 3]),
            (Some(""), [false; 3]),
        ] {
            let mut interfaces = interfaces(asked, &names);
            assert_eq!([0, 1, 2].map(|number| interfaces.count(number)), expected, "{asked:?}");
        }
    }

    #[test]
    fn each_file_numbers_its_own() {
        let mut interfaces = interfaces(Some("eth0"), &[Some("lo"), Some("eth0")]);
        assert_eq!([0, 1].map(|number| interfaces.count(number)), [false, true]);
        interfaces.take(&Interface {
            number: 0,
            name: Some("eth0"),
        });
        assert_eq!([0, 1].map(|number| interfaces.count(number)), [true, false]);
        assert_eq!(
            interfaces.list(),
            "0 lo (1 packet), 1 eth0 (1 packet), 0 eth0 (1 packet)"
        );
        assert_eq!(interfaces.nothing_of_it(), None);
    }

    #[test]
    fn more_than_are_kept() {
        let mut interfaces = Interfaces::new(Some(Which::Number(5000)));
        for number in 0..6000 {
            interfaces.take(&Interface { number, name: None });
        }
        assert_eq!(interfaces.rows.len(), Interfaces::MOST);
        assert_eq!(
            [4095, 4999, 5000].map(|number| interfaces.count(number)),
            [false, false, true]
        );
    }
}

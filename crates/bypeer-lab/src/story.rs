//! The five incidents, and the scenarios that show them.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::scenario::{Scenario, ScenarioError};

/// An incident.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Story {
    /// From 1.
    pub number: u8,
    /// One line.
    pub title: String,
    /// What happened.
    pub told: String,
    #[serde(rename = "scene")]
    scenes: Vec<Scene>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scene {
    scenario: String,
    shows: String,
}

#[derive(Deserialize)]
struct Stories {
    story: Vec<Story>,
}

// The file is part of the program; a test parses it, so one that does not parse never ships.
static STORIES: LazyLock<Vec<Story>> = LazyLock::new(|| {
    toml::from_str::<Stories>(include_str!("../stories.toml"))
        .map(|stories| stories.story)
        .unwrap_or_default()
});

impl Story {
    /// All of them.
    pub fn all() -> &'static [Story] {
        &STORIES
    }

    /// The scenarios in the story's order, with what each shows of it; behind them those that say that they belong to it and are not in
    /// its list.
    ///
    /// # Errors
    /// A built-in scenario that cannot be read.
    pub fn scenarios(&self) -> Result<Vec<(Scenario, &str)>, ScenarioError> {
        let mut found = Vec::new();
        for scene in &self.scenes {
            if let Some(scenario) = Scenario::built_in(&scene.scenario) {
                found.push((scenario?, scene.shows.as_str()));
            }
        }
        for scenario in Scenario::all()? {
            if scenario.story == Some(self.number) && found.iter().all(|(other, _)| other.id != scenario.id) {
                found.push((scenario, ""));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn stories_and_scenarios_speak_of_each_other() {
        let stories = toml::from_str::<Stories>(include_str!("../stories.toml"))
            .unwrap()
            .story;
        let numbers: Vec<u8> = stories.iter().map(|story| story.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
        for story in &stories {
            for scene in &story.scenes {
                assert!(!scene.shows.is_empty(), "{}", scene.scenario);
                let scenario = Scenario::built_in(&scene.scenario);
                let scenario = scenario
                    .unwrap_or_else(|| panic!("there is no {}", scene.scenario))
                    .unwrap();
                assert_eq!(scenario.story, Some(story.number), "{}", scene.scenario);
            }
            let told = story.scenarios().unwrap();
            let silent: Vec<&str> = told
                .iter()
                .filter(|(_, shows)| shows.is_empty())
                .map(|(scenario, _)| scenario.id.as_str())
                .collect();
            assert!(silent.is_empty(), "story {} says nothing of {silent:?}", story.number);
        }
    }
}

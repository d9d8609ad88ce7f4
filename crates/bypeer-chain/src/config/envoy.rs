//! Envoy's bootstrap: the HTTP connection manager of a listener, the route, and the cluster that it leads to.

use std::time::Duration;

use bypeer_diagnose::facts::{Parameter, Repeats};

use super::yaml::{Id, Yaml};
use super::{Read, ambiguous, read_file};
use crate::assemble::Files;
use crate::hop::{Limit, Note, Told};
use crate::time::{Unit, parse};

const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Reads a bootstrap, YAML or JSON. `part`: a cluster, a listener, or `LISTENER/CLUSTER`.
pub(super) fn read(file: &str, part: Option<&str>, files: &dyn Files) -> Result<Read, String> {
    let text = read_file(files, file)?;
    let yaml = Yaml::parse(&text).map_err(|error| format!("{file}: {error}"))?;
    let bootstrap = Bootstrap { file, yaml: &yaml };
    let root = *yaml.documents.first().ok_or_else(|| format!("{file}: is empty"))?;
    let resources = bootstrap.get(root, "static_resources").ok_or_else(|| {
        format!("{file}: has no static_resources; listeners and clusters from a control plane are not in it")
    })?;
    let mut notes = Vec::new();
    let routes = bootstrap.routes(resources, &mut notes);
    let mut reads: Vec<(String, Read)> = Vec::new();
    let mut labels = Vec::new();
    for route in &routes {
        let label = route.label();
        labels.push(label.clone());
        if part.is_some_and(|part| part != label && part != route.listener && part != route.cluster) {
            continue;
        }
        let read = bootstrap.read(resources, route);
        let same = |other: &Read| {
            other.accepts.idle.as_ref().map(|told| told.value) == read.accepts.idle.as_ref().map(|told| told.value)
                && other.opens.pool.as_ref().map(|told| told.value) == read.opens.pool.as_ref().map(|told| told.value)
                && other.opens.repeats.as_ref().map(|told| told.value)
                    == read.opens.repeats.as_ref().map(|told| told.value)
        };
        if !reads.iter().any(|(_, other)| same(other)) {
            reads.push((label, read));
        }
    }
    if reads.len() > 1 {
        let limit = |told: &Option<Told<Limit>>| told.as_ref().map_or("default".to_owned(), |told| told.value.words());
        let told = |read: &Read| format!("{} / {}", limit(&read.accepts.idle), limit(&read.opens.pool));
        let choices: Vec<(String, String)> = reads.iter().map(|(label, read)| (label.clone(), told(read))).collect();
        return Err(ambiguous(file, "envoy", &choices));
    }
    let Some((label, mut read)) = reads.pop() else {
        labels.truncate(12);
        return Err(match (part, labels.is_empty()) {
            (Some(part), false) => format!(
                "{file}: has no listener or cluster {part:?}; it has {}",
                labels.join(", ")
            ),
            _ => format!("{file}: no listener has an HTTP connection manager"),
        });
    };
    read.part = Some(label);
    notes.append(&mut read.notes);
    read.notes = notes;
    Ok(read)
}

struct Bootstrap<'a> {
    file: &'a str,
    yaml: &'a Yaml,
}

struct Route {
    listener: String,
    /// Empty: not in the file.
    cluster: String,
    manager: Id,
    /// The route's action.
    action: Option<Id>,
    virtual_host: Option<Id>,
}

impl Route {
    fn label(&self) -> String {
        match self.cluster.as_str() {
            "" => self.listener.clone(),
            cluster => format!("{}/{cluster}", self.listener),
        }
    }
}

impl Bootstrap<'_> {
    /// A key as YAML writes it, or as JSON made from protobuf does.
    fn get(&self, id: Id, key: &str) -> Option<Id> {
        let camel = || {
            let mut camel = String::new();
            let mut upper = false;
            for c in key.chars() {
                match c {
                    '_' => upper = true,
                    c if upper => {
                        camel.push(c.to_ascii_uppercase());
                        upper = false;
                    }
                    c => camel.push(c),
                }
            }
            camel
        };
        self.yaml.get(id, key).or_else(|| self.yaml.get(id, &camel()))
    }

    fn at(&self, id: Id, path: &[&str]) -> Option<Id> {
        path.iter().try_fold(id, |id, key| self.get(id, key))
    }

    fn text(&self, id: Id, key: &str) -> &str {
        self.get(id, key).and_then(|id| self.yaml.text(id)).unwrap_or_default()
    }

    fn items(&self, id: Id, key: &str) -> &[Id] {
        self.get(id, key).map_or(&[], |id| self.yaml.items(id))
    }

    fn routes(&self, resources: Id, notes: &mut Vec<Note>) -> Vec<Route> {
        let mut routes: Vec<Route> = Vec::new();
        for listener in self.items(resources, "listeners") {
            let name = self.text(*listener, "name");
            let chains = self.items(*listener, "filter_chains").iter();
            let chains = chains
                .chain(self.get(*listener, "default_filter_chain").iter())
                .copied()
                .collect::<Vec<_>>();
            for filter in chains.iter().flat_map(|chain| self.items(*chain, "filters")) {
                let Some(manager) = self.get(*filter, "typed_config") else {
                    continue;
                };
                if !self.text(manager, "@type").ends_with("HttpConnectionManager") {
                    continue;
                }
                let name = if name.is_empty() { "listener" } else { name };
                let before = routes.len();
                self.routes_of(name, manager, &mut routes);
                if routes.len() == before {
                    let line = self.yaml.line(manager);
                    let text = "its routes are not in the file; which cluster they lead to is not known";
                    notes.push(Note::not_understood(self.file, line, text));
                    routes.push(Route {
                        listener: name.to_owned(),
                        cluster: String::new(),
                        manager,
                        action: None,
                        virtual_host: None,
                    });
                }
            }
        }
        // With one cluster in the file there is no question.
        let clusters = self.items(resources, "clusters");
        if let ([cluster], [route]) = (clusters, routes.as_mut_slice())
            && route.cluster.is_empty()
        {
            route.cluster = self.text(*cluster, "name").to_owned();
        }
        routes
    }

    fn routes_of(&self, listener: &str, manager: Id, routes: &mut Vec<Route>) {
        let Some(config) = self.get(manager, "route_config") else {
            return;
        };
        for host in self.items(config, "virtual_hosts") {
            for route in self.items(*host, "routes") {
                let Some(action) = self.get(*route, "route") else {
                    continue;
                };
                let weighted = self
                    .get(action, "weighted_clusters")
                    .map_or(&[][..], |weighted| self.items(weighted, "clusters"));
                let weighted = weighted.iter().map(|cluster| self.text(*cluster, "name"));
                for cluster in weighted
                    .chain([self.text(action, "cluster")])
                    .filter(|name| !name.is_empty())
                {
                    routes.push(Route {
                        listener: listener.to_owned(),
                        cluster: cluster.to_owned(),
                        manager,
                        action: Some(action),
                        virtual_host: Some(*host),
                    });
                }
            }
        }
    }

    fn read(&self, resources: Id, route: &Route) -> Read {
        let mut read = Read::default();
        let common = self.get(route.manager, "common_http_protocol_options");
        if let Some(common) = common {
            if let Some(id) = self.get(common, "idle_timeout") {
                read.accepts.idle = self.limit(id, Parameter::Idle, &mut read.notes);
            }
            if let Some(id) = self.get(common, "max_connection_duration") {
                read.accepts.lifetime = self.time(id, Parameter::Lifetime, &mut read.notes);
            }
            if let Some(id) = self.get(common, "max_requests_per_connection") {
                read.accepts.max_requests = self.count(id, Parameter::MaxRequests, &mut read.notes);
            }
        }
        if let Some(action) = route.action
            && let Some(id) = self.get(action, "timeout")
        {
            read.opens.waits = self.time(id, Parameter::ResponseTimeout, &mut read.notes);
        }
        let retry = [route.action, route.virtual_host]
            .into_iter()
            .flatten()
            .find_map(|id| self.get(id, "retry_policy"));
        if let Some(policy) = retry {
            let on = self.text(policy, "retry_on");
            let has = |names: &[&str]| on.split(',').any(|word| names.contains(&word.trim()));
            let repeats = if has(&["5xx", "gateway-error", "reset", "retriable-status-codes"]) {
                Repeats::Any
            } else if has(&["reset-before-request"]) {
                Repeats::Unsent
            } else {
                Repeats::Nothing
            };
            read.opens.repeats = Some(Told::at(repeats, self.file, self.yaml.line(policy)));
        }
        let clusters = self.items(resources, "clusters");
        match clusters
            .iter()
            .find(|cluster| self.text(**cluster, "name") == route.cluster)
        {
            Some(cluster) => self.cluster(*cluster, &mut read),
            None => {
                let text = format!("cluster {:?} is not in the file", route.cluster);
                let line = self.yaml.line(route.manager);
                read.notes
                    .push(Note::not_understood(self.file, line, text).about(Parameter::PoolIdle));
            }
        }
        read
    }

    fn cluster(&self, cluster: Id, read: &mut Read) {
        let options = self.at(cluster, &["typed_extension_protocol_options", OPTIONS]);
        let nested = options.and_then(|options| self.get(options, "common_http_protocol_options"));
        // As it was before HttpProtocolOptions.
        let common = nested.or_else(|| self.get(cluster, "common_http_protocol_options"));
        let get = |key: &str| common.and_then(|common| self.get(common, key));
        if let Some(id) = get("idle_timeout") {
            read.opens.pool = self.limit(id, Parameter::PoolIdle, &mut read.notes);
        }
        if let Some(id) = get("max_connection_duration") {
            read.opens.lifetime = self.time(id, Parameter::PoolLifetime, &mut read.notes);
        }
        if let Some(id) =
            get("max_requests_per_connection").or_else(|| self.get(cluster, "max_requests_per_connection"))
        {
            read.opens.max_requests = self.count(id, Parameter::PoolMaxRequests, &mut read.notes);
            if read
                .opens
                .max_requests
                .as_ref()
                .is_some_and(|told| told.value == Some(1))
            {
                read.opens.pool = Some(Told::at(Limit::AtOnce, self.file, self.yaml.line(id)));
            }
        }
    }

    /// A duration; zero is no limit.
    fn time(&self, id: Id, about: Parameter, notes: &mut Vec<Note>) -> Option<Told<Option<Duration>>> {
        let text = self.yaml.text(id).unwrap_or_default();
        let line = self.yaml.line(id);
        // Protobuf's form has a unit, always seconds.
        match parse(text, Unit::Seconds).filter(|_| text.ends_with('s')) {
            Some(time) => Some(Told::at(Some(time).filter(|time| !time.is_zero()), self.file, line)),
            None => {
                let text = format!("{text:?} is no duration");
                notes.push(Note::not_understood(self.file, line, text).about(about));
                None
            }
        }
    }

    fn limit(&self, id: Id, about: Parameter, notes: &mut Vec<Note>) -> Option<Told<Limit>> {
        let time = self.time(id, about, notes)?;
        Some(time.map(|time| time.map_or(Limit::Never, Limit::exactly)))
    }

    fn count(&self, id: Id, about: Parameter, notes: &mut Vec<Note>) -> Option<Told<Option<u64>>> {
        let text = self.yaml.text(id).unwrap_or_default();
        let line = self.yaml.line(id);
        match text.parse::<u64>() {
            Ok(count) => Some(Told::at(Some(count).filter(|count| *count > 0), self.file, line)),
            Err(_) => {
                let text = format!("{text:?} is no number");
                notes.push(Note::not_understood(self.file, line, text).about(about));
                None
            }
        }
    }
}

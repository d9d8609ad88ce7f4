/// Where a process belongs, as the path of its cgroup tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Belonging {
    /// The container's id, or its name where its runtime goes by names.
    pub(super) container: Option<String>,
    /// The Kubernetes pod's UID, with hyphens.
    pub(super) pod: Option<String>,
}

/// What a folder of the path has to look like between `prefix` and `suffix`.
struct Pattern {
    prefix: &'static str,
    suffix: &'static str,
    /// The folder that it must lie in, if that matters.
    within: Option<&'static str>,
    value: Value,
}

#[derive(Clone, Copy)]
enum Value {
    /// Hexadecimal digits of a container's id.
    Id,
    /// A container's name, with systemd's escapes.
    Name,
    /// Amazon's ids of tasks: 32 digits, a hyphen, a number.
    TaskId,
    /// A pod's UID, with hyphens, underscores or neither.
    PodUid,
}

const fn pattern(prefix: &'static str, suffix: &'static str, value: Value) -> Pattern {
    Pattern {
        prefix,
        suffix,
        within: None,
        value,
    }
}

const fn within(folder: &'static str, value: Value) -> Pattern {
    Pattern {
        prefix: "",
        suffix: "",
        within: Some(folder),
        value,
    }
}

static CONTAINERS: [Pattern; 15] = [
    pattern("docker-", ".scope", Value::Id),
    pattern("cri-containerd-", ".scope", Value::Id),
    pattern("crio-", ".scope", Value::Id),
    pattern("crio-", "", Value::Id),
    pattern("libpod-", ".scope", Value::Id),
    pattern("libpod-", "", Value::Id),
    pattern("nerdctl-", ".scope", Value::Id),
    pattern("containerd-", ".scope", Value::Id),
    pattern("machine-", ".scope", Value::Name),
    pattern("systemd-nspawn@", ".service", Value::Name),
    pattern("lxc.payload.", "", Value::Name),
    within("lxc", Value::Name),
    within("lxc.payload", Value::Name),
    within("ecs", Value::TaskId),
    // Last: cgroupfs drivers name the folder by the id alone.
    pattern("", "", Value::Id),
];

static PODS: [Pattern; 8] = [
    pattern("pod", "", Value::PodUid),
    pattern("kubepods-pod", ".slice", Value::PodUid),
    pattern("kubepods-burstable-pod", ".slice", Value::PodUid),
    pattern("kubepods-besteffort-pod", ".slice", Value::PodUid),
    pattern("kubepods-guaranteed-pod", ".slice", Value::PodUid),
    // kind puts a kubelet's own folder around.
    pattern("kubelet-kubepods-pod", ".slice", Value::PodUid),
    pattern("kubelet-kubepods-burstable-pod", ".slice", Value::PodUid),
    pattern("kubelet-kubepods-besteffort-pod", ".slice", Value::PodUid),
];

impl Belonging {
    /// From the text of `/proc/PID/cgroup`: one line of version 2 (`0::/…`), or one for each hierarchy of version 1. The innermost container
    /// counts; of hierarchies the first that knows one.
    pub(super) fn parse(text: &str) -> Belonging {
        let mut found = Belonging::default();
        for line in text.lines() {
            let Some(path) = line.splitn(3, ':').nth(2) else {
                continue;
            };
            let of_path = Belonging::of_path(path);
            found.container = found.container.or(of_path.container);
            found.pod = found.pod.or(of_path.pod);
        }
        found
    }

    fn of_path(path: &str) -> Belonging {
        // runc writes `slice:cri-containerd:id` as one folder when its driver is not the kubelet's.
        let folders: Vec<&str> = path.split(['/', ':']).filter(|folder| !folder.is_empty()).collect();
        let innermost = |patterns: &[Pattern]| {
            let inner_first = (0..folders.len()).rev();
            inner_first
                .flat_map(|index| patterns.iter().map(move |pattern| (index, pattern)))
                .find_map(|(index, pattern)| {
                    let parent = index.checked_sub(1).map(|parent| folders[parent]);
                    pattern.value_of(folders[index], parent)
                })
        };
        Belonging {
            container: innermost(&CONTAINERS),
            pod: innermost(&PODS),
        }
    }
}

impl Pattern {
    fn value_of(&self, folder: &str, parent: Option<&str>) -> Option<String> {
        if self.within.is_some() && self.within != parent {
            return None;
        }
        let inner = folder.strip_prefix(self.prefix)?.strip_suffix(self.suffix)?;
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match self.value {
            Value::Id => (inner.len() == 64 && is_hex(inner)).then(|| inner.to_owned()),
            Value::Name => (!inner.is_empty()).then(|| unescaped(inner)),
            Value::TaskId => {
                let (task, number) = inner.split_once('-')?;
                let is_id = task.len() == 32 && is_hex(task) && number.bytes().all(|byte| byte.is_ascii_digit());
                is_id.then(|| inner.to_owned())
            }
            Value::PodUid => {
                let uid = inner.replace('_', "-");
                let digits = uid.bytes().filter(|byte| *byte != b'-').count();
                let is_uid = digits == 32 && is_hex(&uid.replace('-', ""));
                is_uid.then_some(uid)
            }
        }
    }
}

/// Without systemd's escapes: `web\x2d1` is `web-1`.
fn unescaped(name: &str) -> String {
    let mut parts = name.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).map(|digits| u8::from_str_radix(digits, 16)) {
            Some(Ok(byte)) => {
                bytes.push(byte);
                bytes.extend(&part.as_bytes()[2..]);
            }
            _ => {
                bytes.extend(b"\\x");
                bytes.extend(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "8d3cbd8d8c7ea6a0c0c27a2f6a5e1f0ab7a2b6b1b2d4ef2a7c7f8e9d0a1b2c3d";
    const OUTER: &str = "0000000000000000000000000000000000000000000000000000000000000000";
    const UID: &str = "7f4a1b9c-2f3e-4d5a-9b8c-1d2e3f4a5b6c";

    /// Paths as they are found, with `ID`, `OUTER`, `UID` and `U_D` (the UID with underscores) in them.
    #[test]
    fn each_runtime_has_its_paths() {
        for (path, container, pod) in [
            // Docker: systemd driver, cgroupfs driver, rootless, in Docker, under a parent of one's own; BuildKit.
            ("/system.slice/docker-ID.scope", "ID", ""),
            ("/docker/ID", "ID", ""),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
                "ID",
                "",
            ),
            ("/docker/OUTER/docker/ID", "ID", ""),
            ("/docker/ID/init.scope", "ID", ""),
            ("/docker/ID/system.slice/nginx.service", "ID", ""),
            ("/system.slice:docker:ID", "ID", ""),
            ("/custom-parent.slice/docker-ID.scope", "ID", ""),
            ("/docker/buildkit/x8v5m1", "", ""),
            // containerd and Kubernetes: systemd driver, every class of service; its colons when drivers are mixed.
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/cri-containerd-ID.scope",
                "ID",
                "UID",
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_D.slice/cri-containerd-ID.scope",
                "ID",
                "UID",
            ),
            (
                "/kubepods.slice/kubepods-podU_D.slice/cri-containerd-ID.scope",
                "ID",
                "UID",
            ),
            ("/kubepods-burstable-podU_D.slice:cri-containerd:ID", "ID", "UID"),
            (
                "/system.slice/containerd.service/kubepods-burstable-podU_D.slice:cri-containerd:ID",
                "ID",
                "UID",
            ),
            // Its cgroupfs driver.
            ("/kubepods/burstable/podUID/ID", "ID", "UID"),
            ("/kubepods/besteffort/podUID/ID", "ID", "UID"),
            ("/kubepods/podUID/ID", "ID", "UID"),
            ("/kubepods/burstable/podUID", "", "UID"),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/docker-ID.scope",
                "ID",
                "UID",
            ),
            // kind and k3d: a node is a container itself.
            ("/docker/OUTER/kubelet/kubepods/besteffort/podUID/ID", "ID", "UID"),
            (
                "/system.slice/docker-OUTER.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podU_D.slice/cri-containerd-ID.scope",
                "ID",
                "UID",
            ),
            ("/../../podUID/ID", "ID", "UID"),
            // CRI-O; conmon is no container.
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/crio-ID.scope",
                "ID",
                "UID",
            ),
            (
                "/kubepods.slice/kubepods-podU_D.slice/crio-ID.scope/container",
                "ID",
                "UID",
            ),
            ("/kubepods.slice/kubepods-podU_D.slice/crio-conmon-ID.scope", "", "UID"),
            ("/kubepods/burstable/podUID/crio-ID", "ID", "UID"),
            // podman: as root, without, in a pod of its own; conmon.
            ("/machine.slice/libpod-ID.scope", "ID", ""),
            ("/machine.slice/libpod-ID.scope/container", "ID", ""),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
                "ID",
                "",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_OUTER.slice/libpod-ID.scope",
                "ID",
                "",
            ),
            ("/libpod_parent/libpod-ID", "ID", ""),
            ("/machine.slice/libpod-conmon-ID.scope", "", ""),
            // nerdctl.
            ("/system.slice/nerdctl-ID.scope", "ID", ""),
            ("/default/ID", "ID", ""),
            // systemd-nspawn, machinectl.
            (
                "/machine.slice/machine-web\\x2d1.scope/payload/system.slice/nginx.service",
                "web-1",
                "",
            ),
            ("/machine.slice/systemd-nspawn@web.service/payload", "web", ""),
            // LXC, Incus; the monitor is outside.
            ("/lxc.payload.web/system.slice/nginx.service", "web", ""),
            ("/lxc.payload/web/init.scope", "web", ""),
            ("/lxc/web/init.scope", "web", ""),
            ("/lxc.monitor.web", "", ""),
            // Amazon: tasks on one's own machines, Fargate.
            ("/ecs/0123456789abcdef0123456789abcdef/ID", "ID", ""),
            ("/ecs/cluster/01234567-89ab-cdef-0123-456789abcdef/ID", "ID", ""),
            (
                "/ecs/0123456789abcdef0123456789abcdef-1234567890",
                "0123456789abcdef0123456789abcdef-1234567890",
                "",
            ),
            // No container.
            ("/", "", ""),
            ("", "", ""),
            ("/system.slice/nginx.service", "", ""),
            ("/user.slice/user-1000.slice/session-2.scope", "", ""),
            ("/system.slice/docker.service", "", ""),
            ("/system.slice/docker-.scope", "", ""),
            ("/system.slice/podman.service/tripod", "", ""),
            ("/system.slice/docker-8d3cbd8d8c7e.scope", "", ""),
        ] {
            let filled = |text: &str| {
                let with_underscores = UID.replace('-', "_");
                text.replace("OUTER", OUTER)
                    .replace("UID", UID)
                    .replace("U_D", &with_underscores)
                    .replace("ID", ID)
            };
            let expected = Belonging {
                container: Some(filled(container)).filter(|text| !text.is_empty()),
                pod: Some(filled(pod)).filter(|text| !text.is_empty()),
            };
            assert_eq!(Belonging::parse(&format!("0::{}\n", filled(path))), expected, "{path}");
            // Version 1 has many hierarchies; some runtimes leave some out.
            let text = format!("12:pids:/\n4:cpu,cpuacct:{0}\n1:name=systemd:{0}\n0::/\n", filled(path));
            assert_eq!(Belonging::parse(&text), expected, "version 1: {path}");
        }
    }

    #[test]
    fn a_static_pod_has_a_hash_for_its_uid() {
        let text = format!("0::/kubepods/burstable/pod0123456789abcdef0123456789abcdef/{ID}");
        let pod = Belonging::parse(&text).pod;
        assert_eq!(pod.as_deref(), Some("0123456789abcdef0123456789abcdef"));
    }

    #[test]
    fn any_text_will_do() {
        let text = format!(
            "1:name=systemd:/kubepods/burstable/pod{UID}/{ID}\n0::/machine.slice/machine-a\\x2db\\xz\\x.scope\n"
        );
        for end in 0..=text.len() {
            Belonging::parse(&text[..end]);
            Belonging::parse(&text[end..]);
        }
        assert_eq!(Belonging::parse("0:/machine-é\\xé.scope"), Belonging::default());
        assert_eq!(unescaped("\\xé\\x2\\x2d"), "\\xé\\x2-");
    }
}

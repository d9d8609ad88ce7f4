//! The kernel's modules that the guest needs, in the order in which they can be loaded.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::kernel::Kernel;
use super::tool::BUSYBOX;

/// What the lab and the watcher use: links, the wire, what sockets tell at their death, a firewall that answers with resets.
const WANTED: [&str; 8] = [
    "veth",
    "af_packet",
    "tun",
    "tcp_diag",
    "nf_tables",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_ct",
];

/// A module, ready to be loaded.
#[derive(Debug)]
pub struct Module {
    pub name: String,
    pub content: Vec<u8>,
}

/// Those that are wanted and what they depend on, each after what it depends on. The package has no list of dependencies (it is made
/// when it is installed), but each module names its own.
///
/// # Errors
/// When the kernel has not all of them, or one cannot be read.
pub fn wanted(kernel: &Kernel) -> Result<Vec<Module>> {
    let folder = kernel.modules();
    let mut files = BTreeMap::new();
    list(&folder.join("kernel"), &mut files)
        .with_context(|| format!("cannot list the modules in {}", folder.display()))?;
    let builtin = fs::read_to_string(folder.join("modules.builtin"))?;
    let mut order = Order {
        files,
        builtin: builtin.lines().filter_map(|line| name_of(Path::new(line))).collect(),
        modules: Vec::new(),
    };
    for name in WANTED {
        order.add(name).with_context(|| format!("kernel {}", kernel.release))?;
    }
    Ok(order.modules)
}

struct Order {
    files: BTreeMap<String, PathBuf>,
    builtin: Vec<String>,
    modules: Vec<Module>,
}

impl Order {
    /// Adds a module after those that it depends on. The kernel's build refuses circles.
    fn add(&mut self, name: &str) -> Result<()> {
        let is_there = self.builtin.iter().any(|own| own == name) || self.modules.iter().any(|own| own.name == name);
        if is_there {
            return Ok(());
        }
        let Some(file) = self.files.get(name) else {
            bail!("it has no module {name}");
        };
        let content = read(file)?;
        for dependency in dependencies(&content) {
            self.add(&dependency)?;
        }
        let name = name.to_owned();
        self.modules.push(Module { name, content });
        Ok(())
    }
}

/// Files below a folder by the names of the modules in them.
fn list(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if let Some(name) = name_of(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `net/nf-tables.ko.xz` holds the module nf_tables.
fn name_of(path: &Path) -> Option<String> {
    let (name, _) = path.file_name()?.to_str()?.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    match path.extension().and_then(OsStr::to_str) {
        Some("ko") => fs::read(path).with_context(|| format!("cannot read {}", path.display())),
        Some("xz") => BUSYBOX.output(Path::new("/"), &["xzcat".as_ref(), path.as_os_str()]),
        _ => bail!("{} is packed in a way that is not known here", path.display()),
    }
}

/// What a module says of itself among its strings: `depends=nf_reject_ipv4,nft_reject`.
fn dependencies(content: &[u8]) -> Vec<String> {
    content
        .split(|byte| *byte == 0)
        .find_map(|string| string.strip_prefix(b"depends="))
        .map(String::from_utf8_lossy)
        .map(|names| {
            names
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_loaded_after_what_it_depends_on() {
        let folder = tempfile::tempdir().unwrap();
        let depends = [("a", "c,b"), ("b", "c"), ("c", ""), ("d-e", "kept")];
        let mut files = BTreeMap::new();
        for (name, on) in depends {
            let path = folder.path().join(format!("{name}.ko"));
            fs::write(&path, format!("\x7fELF\0license=GPL\0depends={on}\0name={name}\0")).unwrap();
            files.insert(name_of(&path).unwrap(), path);
        }
        let mut order = Order {
            files,
            builtin: vec!["kept".to_owned()],
            modules: Vec::new(),
        };
        order.add("a").unwrap();
        order.add("d_e").unwrap();
        order.add("b").unwrap();
        let names: Vec<&str> = order.modules.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["c", "b", "a", "d_e"]);
        assert!(order.add("absent").is_err());
    }

    #[test]
    fn names_are_those_of_modules() {
        assert_eq!(name_of(Path::new("kernel/net/x-y.ko.xz")).as_deref(), Some("x_y"));
        assert_eq!(name_of(Path::new("modules.order")), None);
    }
}

//! Real clients, each a line for the shell.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::servers::{has, search_path};

/// What a client may take; then it is ended, and what it did counts.
const PATIENCE: &str = "60";

/// A program that asks.
pub struct Client {
    pub name: &'static str,
    needs: &'static [&'static str],
    /// Python's modules that it needs.
    modules: &'static str,
    files: &'static [(&'static str, &'static str)],
    made_by: Option<&'static str>,
    /// `{url}` ends with a slash; `{requests}` is how many, and `{host}`, `{port}` where.
    line: &'static str,
}

pub const CURL: Client = Client {
    name: "curl",
    needs: &["curl"],
    modules: "",
    files: &[(
        "curl.sh",
        r#"many=$(($2 / 8)); common="--silent --output /dev/null --parallel --parallel-max 6"
curl $common "$1account/[1-9]?n=[1-$((many / 9 + 1))]" "$1transactions/1?n=[1-$many]" &
curl $common -H 'If-None-Match: "v1"' "$1cached?n=[1-$many]" &
curl $common --head "$1session?n=[1-$many]" &
curl $common --data xxxxxxxx "$1json?n=[1-$many]" &
curl $common --http1.0 "$1list?n=[1-$many]" &
curl $common -H 'Expect: 100-continue' --data xxxxxxxx "$1json?n=[1-$((many / 2))]" &
curl $common --max-time 1 "$1large?n=[1-$((many / 10))]" &
for n in 1 2 3 4 5 6; do curl --silent --output /dev/null --max-time 0.0$n "$1slow/200"; curl --silent --output /dev/null --max-time 0.005 "$1large"; done
wait
"#,
    )],
    made_by: None,
    line: "sh {dir}/curl.sh {url} {requests}",
};

pub const GO: Client = Client {
    name: "Go http.Client",
    needs: &["go"],
    modules: "",
    files: &[("client.go", include_str!("programs/client.go"))],
    made_by: Some("go build -o {dir}/client {dir}/client.go"),
    line: "{dir}/client {url} {requests}",
};

pub const NODE: Client = Client {
    name: "Node http.Agent and fetch",
    needs: &["node"],
    modules: "",
    files: &[("client.js", include_str!("programs/client.js"))],
    made_by: None,
    line: "node {dir}/client.js {url} {requests}",
};

pub const PYTHON: Client = Client {
    name: "Python requests, httpx, aiohttp",
    needs: &["python3"],
    modules: "requests, httpx, aiohttp",
    files: &[("client.py", include_str!("programs/client.py"))],
    made_by: None,
    line: "python3 {dir}/client.py {url} {requests}",
};

/// As many as it can in this time: no option of wrk counts requests.
pub const WRK: Client = Client {
    name: "wrk",
    needs: &["wrk"],
    modules: "",
    files: &[],
    made_by: None,
    line: "timeout -s INT 0.4 wrk -t1 -c12 -d1s {url}account/1",
};

pub const WRK_PIPELINING: Client = Client {
    name: "wrk, pipelining",
    needs: &["wrk"],
    modules: "",
    files: &[(
        "pipeline.lua",
        r#"init = function()
  local all = {}
  for _, path in ipairs({"/account/1", "/transactions/1", "/session", "/list"}) do all[#all + 1] = wrk.format(nil, path) end
  pipeline = table.concat(all)
end
request = function() return pipeline end
delay = function() return math.random(0, 30) end
"#,
    )],
    made_by: None,
    line: "wrk -t1 -c6 -d1s -s {dir}/pipeline.lua {url}",
};

pub const AB: Client = Client {
    name: "ab",
    needs: &["ab"],
    modules: "",
    files: &[],
    made_by: None,
    line: "ab -q -k -n {requests} -c 8 {url}account/2",
};

pub const REDIS_BENCHMARK: Client = Client {
    name: "redis-benchmark",
    needs: &["redis-benchmark"],
    modules: "",
    files: &[(
        "benchmark.sh",
        "many=$(($3 / 10)); common=\"redis-benchmark -q -h $1 -p $2\"\n\
         $common -n $many -c 10 -t set,get,incr,lpush,mset; $common -n $many -c 10 -P 16 -t set,get,sadd,lrange_100\n",
    )],
    made_by: None,
    line: "sh {dir}/benchmark.sh {host} {port} {requests}",
};

pub const REDIS_CLI: Client = Client {
    name: "redis-cli",
    needs: &["redis-cli"],
    modules: "",
    files: &[(
        "cli.sh",
        r#"for n in $(seq 40); do redis-cli -h $1 -p $2 get key:1; done
for n in $(seq 300); do echo "incr counter"; echo "hgetall nothing"; done | redis-cli -h $1 -p $2
for n in $(seq 300); do echo "set key:$n value"; done | redis-cli -h $1 -p $2 --pipe
timeout 0.3 redis-cli -h $1 -p $2 subscribe news & timeout 0.3 redis-cli -h $1 -p $2 monitor &
sleep 0.1; for n in $(seq 20); do redis-cli -h $1 -p $2 publish news $n; done; wait
timeout 0.2 redis-cli -h $1 -p $2 blpop nothing 1; redis-cli -h $1 -p $2 -3 client tracking on; redis-cli -h $1 -p $2 --bigkeys
exit 0
"#,
    )],
    made_by: None,
    line: "sh {dir}/cli.sh {host} {port}",
};

pub const REDIS_PY: Client = Client {
    name: "redis-py",
    needs: &["python3"],
    modules: "redis",
    files: &[("redis_client.py", include_str!("programs/redis_client.py"))],
    made_by: None,
    line: "python3 {dir}/redis_client.py {host} {port} {requests}",
};

impl Client {
    /// What is not here of what it needs.
    pub fn lacks(&self) -> Option<String> {
        if let Some(need) = self.needs.iter().find(|need| !has(need)) {
            return Some((*need).to_owned());
        }
        let import = format!("import {}", self.modules);
        let imports = || {
            Command::new("python3")
                .env("PATH", search_path())
                .args(["-c", &import])
                .stderr(Stdio::null())
                .status()
        };
        (!self.modules.is_empty() && !imports().is_ok_and(|status| status.success()))
            .then(|| format!("Python's {}", self.modules))
    }

    /// Writes its files into a folder of its own, and compiles what is to be compiled.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn prepare(&self, folder: &Path) -> Result<()> {
        for (name, text) in self.files {
            std::fs::write(folder.join(name), text)?;
        }
        if let Some(line) = self.made_by {
            let line = line.replace("{dir}", &folder.to_string_lossy());
            let output = Command::new("sh").args(["-c", &line]).output()?;
            ensure!(
                output.status.success(),
                "{line}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    /// Asks this server for so much.
    ///
    /// # Errors
    /// When it cannot be started, or could not ask at all.
    pub fn ask(&self, folder: &Path, server: std::net::SocketAddr, requests: u64) -> Result<()> {
        let line = self
            .line
            .replace("{url}", &format!("http://{server}/"))
            .replace("{host}", &server.ip().to_string())
            .replace("{port}", &server.port().to_string())
            .replace("{requests}", &requests.to_string())
            .replace("{dir}", &folder.to_string_lossy());
        let output = Command::new("timeout")
            .env("PATH", search_path())
            .args([PATIENCE, "sh", "-c", &line])
            .stdin(Stdio::null())
            .output()
            .with_context(|| self.name)?;
        // 124: ended by us. curl tells by its status of what it gave up.
        ensure!(
            self.name == CURL.name || matches!(output.status.code(), Some(0 | 124)),
            "{}: {} {}{}",
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

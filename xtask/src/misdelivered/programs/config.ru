# The site on Rack.
require "json"

count = 0
site = lambda do |env|
  env["rack.input"]&.read
  count += 1
  first, second, third = env["PATH_INFO"].delete_prefix("/").split("/")
  json = ->(status, value, fields = {}) { [status, { "Content-Type" => "application/json" }.merge(fields), [JSON.dump(value)]] }
  status, fields, body =
    case first
    when "account" then json[200, { kind: "account", balance: count, currency: "KES" }]
    when "transactions" then json[200, { kind: "transactions", items: (0...count % 7).map { |id| { id: id, amount: id * 3 } } }]
    when "session" then json[200, { status: "ok", session: "s#{count}" }]
    when "list" then json[200, [count, 2, 3]]
    when "twin" then json[200, { id: third, value: count }]
    when "echo" then json[200, { kind: "echo", token: second }]
    when "changing" then json[200, count % 5 == 0 ? { error: "busy" } : { rows: [1, 2], next: nil }]
    when "deprecated" then json[200, { error: "gone" }]
    when "private" then json[401, { error: "who are you" }]
    when "large" then [200, {}, ["x" * 600_000]]
    when "nothing" then [204, {}, []]
    when "cached"
      env["HTTP_IF_NONE_MATCH"] == '"v1"' ? [304, { "ETag" => '"v1"' }, []] : json[200, { kind: "cached" }, { "ETag" => '"v1"' }]
    when "hints"
      env["rack.early_hints"]&.call({ "Link" => "</style.css>; rel=preload; as=style" })
      json[200, { kind: "hints" }]
    when "slow"
      sleep second.to_f / 1000
      json[200, { slept: second.to_i }]
    when "never"
      sleep 1.5
      json[200, { late: true }]
    when "json" then json[200, { received: env["CONTENT_LENGTH"].to_i }]
    else json[404, { error: "no such page" }]
    end
  [status, fields, body]
end
run site

run lambda { |env|
  p = env['PATH_INFO'].split('/'); k = p[1]
  if k == '413' then next [413, {'Content-Type'=>'text/plain','Content-Length'=>'4'}, ["big\n"]] end
  if k == 'ignore' then next [200, {'Content-Type'=>'text/plain','Content-Length'=>p[2]}, ["i"*p[2].to_i]] end
  env['rack.input'].read
  case k
  when 'n' then [200, {'Content-Type'=>'text/plain','Content-Length'=>p[2]}, ["n"*p[2].to_i]]
  when 'slow' then sleep p[2].to_f; [200, {'Content-Type'=>'text/plain','Content-Length'=>'5'}, ["slow\n"]]
  when 'drip'
    c,ms,size=p[2].to_i,p[3].to_f/1000,p[4].to_i
    [200, {'Content-Type'=>'text/plain','Content-Length'=>(c*size).to_s}, Enumerator.new { |y| c.times { y << 'd'*size; sleep ms } }]
  else [200, {'Content-Type'=>'text/plain','Content-Length'=>'6'}, ["hello\n"]] end
}

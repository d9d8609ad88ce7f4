/// How to make a capture that can be explained. Printed when no file is given.
pub(crate) const CAPTURE: &str = "\
No capture was given (a pipe is read when it is named: bypeer explain -). To make one that can be explained, let
this run until it has happened again, then end it with Ctrl-C. It is a ring of 20 files of 100 MB each, so that it may run
for weeks; put your port, or ports, in place of 8080:

    sudo tcpdump -i any -nn -s 0 -Z root -C 100 -W 20 -w /var/tmp/ring.pcap 'tcp port 8080 or icmp or icmp6'
    bypeer explain /var/tmp/ring.pcap*

  -s 0              whole packets: the ends of requests and responses tell causes apart. If privacy or disk forbid that,
                    -s 200 keeps the headers; more findings will then be undecided.
  -C 100 -W 20      the ring. -Z root, or tcpdump gives up root and cannot begin its second file.
  icmp or icmp6     a firewall or router that refuses says so in ICMP.
                    With IP fragments or tunnels (VXLAN, GRE), capture without a filter.

Begin before the connections begin: a connection whose handshake is missing can be explained less well.

At both ends at once, if you can: run it on the client's and on the server's machine. What one side sent and the other never
saw was done by a box in between. Explain each capture by itself, or, where the clocks agree, as one:

    mergecap -I none -w both.pcapng client.pcap server.pcap
    bypeer explain both.pcapng                  # as the client saw it, whose packets come first
    bypeer explain both.pcapng --interface 1    # as the server saw it

Live, without a file (findings are printed as connections end, the report after Ctrl-C):

    sudo tcpdump -i any -nn -U -w - 'tcp port 8080 or icmp or icmp6' | bypeer explain -

Inside a container or pod, from its node (needs nothing inside of it):

    pid=$(crictl inspect --output go-template --template '{{.info.pid}}' CONTAINER)   # docker inspect -f '{{.State.Pid}}'
    sudo nsenter --net --target $pid tcpdump -i any -nn -U -w - 'tcp port 8080 or icmp or icmp6' | bypeer explain -

Without access to the node (IMAGE must hold tcpdump):

    kubectl debug POD --image=IMAGE --target=CONTAINER --container=capture -- \\
        tcpdump -i any -nn -s 0 -w /tmp/pod.pcap 'tcp port 8080 or icmp or icmp6'
    kubectl exec POD -c capture -- cat /tmp/pod.pcap > pod.pcap    # once it has happened
    bypeer explain pod.pcap
";

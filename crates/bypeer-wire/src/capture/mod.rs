//! pcap and pcapng as they are in real life, parsed from whatever bytes have arrived so far.

/* Reads the head of one request, answers, and closes with the body unread: what story 5 is about, small enough to name its line. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

__attribute__((noinline)) static void finish_response(int connection)
{
	close(connection);
	__asm__ volatile("");
}

__attribute__((noinline)) static void handle_request(int connection)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	char head[64];
	if (recv(connection, head, sizeof head, 0) > 0)
		send(connection, answer, strlen(answer), 0);
	usleep(30000);
	finish_response(connection);
	__asm__ volatile("");
}

int main(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 8) ||
	    getsockname(listener, (struct sockaddr *)&address, &length))
		return 1;
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	for (;;) {
		int connection = accept(listener, 0, 0);
		if (connection < 0)
			return 1;
		handle_request(connection);
	}
}

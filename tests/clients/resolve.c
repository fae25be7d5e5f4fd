// Prints what the C library says of a name, a line for each address. Built with musl by the tests, whose resolver is
// another one than the system's: it asks all name servers at once from one unconnected socket.
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int count, char **words) {
    struct addrinfo wanted = {.ai_socktype = SOCK_STREAM}, *found;
    char text[INET6_ADDRSTRLEN];
    if (count != 2)
        return 2;
    int error = getaddrinfo(words[1], NULL, &wanted, &found);
    if (error == EAI_NONAME || error == EAI_NODATA)
        return 0;
    if (error) {
        fprintf(stderr, "%s\n", gai_strerror(error));
        return 1;
    }
    for (; found; found = found->ai_next) {
        struct sockaddr *at = found->ai_addr;
        void *address = at->sa_family == AF_INET ? (void *)&((struct sockaddr_in *)at)->sin_addr
                                                 : (void *)&((struct sockaddr_in6 *)at)->sin6_addr;
        puts(inet_ntop(at->sa_family, address, text, sizeof text));
    }
    return 0;
}
